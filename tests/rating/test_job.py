"""`qsit score --output`: each image once, with the score that it has alone, whatever dies."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import object_store
import psutil
import pyarrow.dataset as ds
import pytest
import small_model
from command_line import QSIT, call, kill_when
from safetensors.numpy import load_file, save_file

from qsit_ray.errors import InputError
from qsit_ray.rating.job import plan_of, precision_of
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.results import Reject, Score
from qsit_ray.rating.shards import Counts, Folder, Plan

COUNT = 2_000
BROKEN = (3, 700, 1999)
SHARD = 50


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model.write(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        content = b"none" if number in BROKEN else small_model.image(number, (16, 24), "JPEG")
        (folder / f"{number:04}.jpg").write_bytes(content)
    return folder


def words(model, images, out):
    asked = [QSIT, "score", "--model", model, "--input", images, "--output", out]
    return [*map(str, asked), "--cpus", "1", "--shard-images", str(SHARD)]


def rows(out):
    """What the job found, by image; each image once."""
    found = ds.dataset(out / "shards", format="parquet").to_table().to_pylist()
    by_name = {row["image"]: row for row in found}
    assert len(by_name) == len(found)
    return by_name


def check(out, model, images):
    """Rows in are scores and rejects; some scores are compared with those of single images."""
    by_name = rows(out)
    names = [str(images / f"{number:04}.jpg") for number in range(COUNT)]
    assert sorted(by_name) == names
    rejected = [names[number] for number in BROKEN]
    assert [name for name in names if by_name[name]["score"] is None] == rejected
    listed = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [row["image"] for row in listed] == rejected
    rater = Rater.load(model)
    for name in names[1 :: COUNT // 40]:
        assert by_name[name]["score"] == pytest.approx(rater.score(name).score, abs=1e-4)
    assert json.loads((out / "conditions.json").read_text())["precision"] == "float32"


def test_a_job_whose_driver_and_actors_are_killed_ends_with_each_image_once(
    model, images, tmp_path
):
    out = tmp_path / "scores"
    command = words(model, images, out)
    kill_when(lambda shown: len(list((out / "shards").glob("0*.parquet"))) >= 8, command)
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "shards").glob("0*.parquet")}
    assert 8 <= len(kept) < COUNT // SHARD
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        shown, killed = [], 0
        for line in driver.stdout:
            shown.append(line)
            if "Score images:" in line and not killed:
                killed = kill_actors(driver.pid)
    assert driver.returncode == 2, "".join(shown)
    assert killed >= 1
    assert f"{len(BROKEN)} of {COUNT} images are rejected" in shown[-1]
    check(out, model, images)
    again = {path.name: path.stat().st_mtime_ns for path in (out / "shards").glob("0*.parquet")}
    assert kept.items() <= again.items()  # what was done is not done again


def kill_actors(driver):
    """SIGKILL of the actors that score; returns how many."""
    killed = 0
    for process in psutil.Process(driver).children(recursive=True):
        if "MapWorker" in " ".join(process.cmdline()):
            process.kill()
            killed += 1
    return killed


@pytest.mark.slow
def test_a_job_goes_on_when_a_node_dies(model, images, tmp_path, monkeypatch):
    for name in ("period_ms", "timeout_ms"):
        monkeypatch.setenv(f"RAY_health_check_{name}", "1000")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    out = tmp_path / "scores"
    try:
        with subprocess.Popen(
            words(model, images, out),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "RAY_ADDRESS": cluster.address},
        ) as driver:
            shown = []
            for line in driver.stdout:
                shown.append(line)
                if "Score images:" in line and len(nodes) == 2:
                    cluster.remove_node(nodes.pop(), allow_graceful=False)
        assert driver.returncode == 2, "".join(shown)
    finally:
        cluster.shutdown()
    check(out, model, images)


def test_images_and_scores_may_lie_on_an_object_store(model, tmp_path, monkeypatch):
    """The command of docs/USE.md as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "USE.md").read_text()
    (command,) = re.findall(r"^    qsit (score .*--output.*)$", page, re.MULTILINE)
    (tmp_path / "MODEL").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    with object_store.running() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        import s3fs

        store = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        for number in range(5):
            content = b"none" if number == 2 else small_model.image(number)
            store.pipe(f"bucket/photos/deep/{number}.png", content)
        store.pipe("bucket/photos/notes.txt", b"no image")
        store.pipe("bucket/photos/.hidden/6.png", small_model.image(6))
        typo = call("score", "--model", "MODEL", "s3://bucket/photo", "--output", "s3://bucket/x")
        assert (typo.returncode, "no images there" in typo.stderr) == (2, True)
        done = call(*shlex.split(command), "--shard-images", 2)
        assert done.returncode == 2, done.stderr
        assert "1 of 5 images are rejected; see s3://bucket/scores/rejects.jsonl" in done.stderr
        found = []
        for number in range(3):
            content = store.cat(f"bucket/scores/shards/{number:05}.parquet")
            (tmp_path / f"{number}.parquet").write_bytes(content)
            found.append(str(tmp_path / f"{number}.parquet"))
        found = ds.dataset(found, format="parquet").to_table().to_pylist()
        names = [f"s3://bucket/photos/deep/{number}.png" for number in range(5)]
        assert [row["image"] for row in found] == names
        rater = Rater.load(model)
        for number in (0, 1, 3, 4):
            known = rater.score(small_model.image(number)).score
            assert found[number]["score"] == pytest.approx(known, abs=1e-4)


def plan(images, **changes):
    given = {"shard_images": 2, "sha256": "0", "model": "m", "weights": "1", "profile": "paper"}
    return Plan(**{"images": images, "precision": "fp32", **given, **changes})


def test_what_could_not_be_fetched_is_tried_again(tmp_path):
    folder, found = Folder(tmp_path), [Score("a", 3.0, {"good": 1.0}, 0.0, 0.0, 1.0)]
    folder.begin(["a", "b", "c"], plan(3))
    assert folder.missing(plan(3)) == [0, 1]
    assert [folder.listed(number) for number in (0, 1)] == [["a", "b"], ["c"]]
    lost = Reject("b", "no network", transient=True)
    assert folder.write(0, [*found, lost], ["good"], {"x": 1}) == Counts(1, 1, 1)
    folder.write(1, [Reject("c", "no image")], ["good"], {"x": 1})
    assert folder.missing(plan(3)) == [0]
    assert folder.end(plan(3)) == Counts(1, 2, 1)
    listed = [json.loads(line) for line in folder.rejects.read_text().splitlines()]
    assert [row["reason"] for row in listed] == ["no network", "no image"]
    assert json.loads(folder.conditions.read_text()) == {"x": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [({"sha256": "2"}, "other images"), ({"precision": "bf16"}, "begun with precision fp32")],
)
def test_a_folder_of_another_job_is_refused(tmp_path, change, said):
    folder = Folder(tmp_path)
    folder.begin(["a"], plan(1))
    folder.begin(["a"], plan(1))
    with pytest.raises(InputError, match=said):
        folder.begin(["a"], plan(1, **change))


def test_a_job_goes_on_in_its_precision_on_another_machine(tmp_path):
    folder = Folder(tmp_path)
    assert [precision_of(folder, None, gpu) for gpu in (True, False)] == ["bf16", "fp32"]
    folder.begin(["a"], plan(1, precision="bf16"))
    assert [precision_of(folder, None, gpu) for gpu in (True, False)] == ["bf16", "bf16"]
    assert precision_of(folder, "fp32", gpu=True) == "fp32"  # which `begin` refuses


def test_another_models_weights_are_other_scores(model, tmp_path):
    here = shutil.copytree(model, tmp_path / "model")
    before = plan_of(["a"], str(here), "paper", "fp32", 2)
    assert plan_of(["a"], str(here), "paper", "fp32", 2) == before
    tensors = load_file(here / "model.safetensors")
    save_file({name: value + 1 for name, value in tensors.items()}, here / "model.safetensors")
    assert plan_of(["a"], str(here), "paper", "fp32", 2).weights != before.weights
    with pytest.raises(InputError, match="a name that is no text"):
        plan_of(["a\udcff.png"], str(here), "paper", "fp32", 2)


def test_a_file_that_the_machine_can_not_read_is_tried_again(model, tmp_path):
    (tmp_path / "fails.png").symlink_to("/proc/self/mem")  # an input/output error
    (tmp_path / "a.png").write_bytes(small_model.image(0))
    found, lost = Rater.load(model).scores([tmp_path / "a.png", tmp_path / "fails.png"])
    assert isinstance(found, Score)
    assert lost.transient


def test_rows_that_do_not_add_up_are_no_success(tmp_path):
    folder = Folder(tmp_path)
    folder.begin(["a", "b"], plan(2))
    folder.write(0, [Reject("a", "no image")], ["good"], {})
    with pytest.raises(RuntimeError, match="do not add up"):
        folder.end(plan(2))


def test_a_job_is_refused_before_ray_starts(model, images, tmp_path):
    file = tmp_path / "a.csv"
    both = call("score", "--model", model, images, "--output", tmp_path / "o", "--out", file)
    assert (both.returncode, "give --out for one file" in both.stderr) == (2, True)
    missing = call("score", "--model", tmp_path, images, "--output", tmp_path / "o")
    assert (missing.returncode, str(tmp_path) in missing.stderr) == (2, True)
