"""A model from the command line: qsit score, ask and describe."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner
from vllm_server import Server

import qsit_ray
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.app import app, main
from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.rating import reference

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from qsit_ray.demo import models
    from qsit_ray.demo.pretrain import make_tokenizer

    folder = tmp_path_factory.mktemp("model") / "m"
    tokenizer = make_tokenizer([], 0)
    made = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    load.save(made, models.processor_of(made, tokenizer), folder)
    reference.write(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (60 + number, 70, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def call(*words, stdin=None):
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


def test_scores_are_csv_where_there_is_no_terminal(model, images):
    done = call("score", "--model", model, images)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert done.exit_code == 0
    assert [row["image"] for row in rows] == [str(images / f"{n}.png") for n in range(4)]
    rater = qsit_ray.Rater.load(model)
    for row in rows:
        assert float(row["score"]) == pytest.approx(rater.score(row["image"]).score, abs=1e-4)
        levels = [float(row[word]) for word in ("bad", "poor", "fair", "good", "excellent")]
        assert sum(levels) == pytest.approx(1)
        assert float(row["score"]) == pytest.approx(np.dot(levels, [1, 2, 3, 4, 5]))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_has_all_scores_and_what_they_depend_on(model, images, tmp_path, ending):
    out = tmp_path / f"scores.{ending}"
    expected = json.loads(call("score", "--model", model, images, "--json").stdout)
    assert call("score", "--model", model, images, "--out", out).exit_code == 0
    if ending == "parquet":
        rows = pq.read_table(out).to_pylist()
    elif ending == "csv":
        rows = list(csv.DictReader(out.open()))
    else:
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image"] for row in rows] == [row["image"] for row in expected["scores"]]
    for row, known in zip(rows, expected["scores"], strict=True):
        assert float(row["score"]) == pytest.approx(known["score"], abs=1e-6)
    conditions = json.loads((tmp_path / f"scores.{ending}.conditions.json").read_text())
    assert conditions == expected["conditions"]
    assert (conditions["profile"], conditions["resize"]) == ("paper", "bicubic")
    assert not (tmp_path / f"scores.{ending}.rejects.jsonl").exists()


def test_rows_in_are_rows_out_and_rejects(model, images, tmp_path, capsys, monkeypatch):
    bad, out = tmp_path / "bad.png", tmp_path / "s.jsonl"
    bad.write_text("no image")
    words = ["score", "--model", model, images / "0.png", bad, images / "1.png", "--out", out]
    monkeypatch.setattr(sys, "argv", ["qsit", *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "bad.png: not a readable image" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 2
    (reject,) = [json.loads(x) for x in (tmp_path / "s.jsonl.rejects.jsonl").open()]
    assert reject["image"] == str(bad)
    # Mended, and scored again: no reject is left.
    bad.write_bytes((images / "2.png").read_bytes())
    assert call(*words).exit_code == 0
    assert len(out.read_text().splitlines()) == 3
    assert not (tmp_path / "s.jsonl.rejects.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png"], "missing.png: no such file"),
        ([], "give images, or --selftest"),
        (["IMAGES", "--selftest"], "give images, or --selftest"),
        (["IMAGES", "--out", "x.txt"], "x.txt: expected a name that ends in"),
        (["IMAGES", "--out", "nowhere/x.csv"], "its folder is missing"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(images, words, message):
    given = [images if word == "IMAGES" else word for word in words]
    with pytest.raises(InputError, match=message):
        raise call("score", "--model", "no/model", *given).exception


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--endpoint", "http://h/v1"], "--endpoint is a server's address; give --backend vllm"),
        (["--backend", "vllm"], "--backend vllm needs --endpoint"),
        (["--backend", "vllm", "--endpoint", "h"], "base URL .* must be like https://host/v1"),
        (["--backend", "vllm", "--endpoint", "http://h/v1", "--precision", "bf16"], "--precision"),
    ],
)
@pytest.mark.parametrize("verb", ["score", "ask", "describe"])
def test_a_server_and_what_is_loaded_here_are_not_mixed(images, monkeypatch, verb, words, message):
    monkeypatch.delenv("QSIT_MODEL_URL", raising=False)
    given = [images / "0.png", *(["Sharp?"] if verb == "ask" else []), *words]
    with pytest.raises(InputError, match=message):
        raise call(verb, "--model", "no/model", *given).exception


def test_a_servers_model_has_no_selftest_and_no_batches(images):
    server = ["--backend", "vllm", "--endpoint", "http://h/v1"]
    with pytest.raises(InputError, match="--selftest compares a model that is loaded here"):
        raise call("score", "--model", "m", "--selftest", *server).exception
    with pytest.raises(InputError, match="--batch-tokens is of a model that is loaded here"):
        raise call("score", "--model", "m", images, "--batch-tokens", 9, *server).exception


def test_a_served_models_scores_and_rejects(model, images, tmp_path, monkeypatch):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    server = Server(load.load(model, torch.float32), key="sesame")
    monkeypatch.setenv("QSIT_MODEL_KEY", "sesame")
    monkeypatch.setenv("QSIT_MODEL_URL", server.url)
    words = ["--model", "tiny", "--backend", "vllm", "--json"]
    try:
        done = call("score", images, bad, *words)
        asked = call("ask", images / "0.png", "Sharp?", "--choice", "yes", "--choice", "no", *words)
    finally:
        server.close()
    found = json.loads(done.stdout)
    here = json.loads(call("score", "--model", model, images, "--json").stdout)["scores"]
    assert [row["image"] for row in found["scores"]] == [row["image"] for row in here]
    for row, known in zip(found["scores"], here, strict=True):
        assert row["score"] == pytest.approx(known["score"], abs=1e-6)
    (reject,) = found["rejects"]
    assert (reject["image"], done.exit_code) == (str(bad), 1)
    assert isinstance(done.exception, InputError) and "1 of 5 images" in str(done.exception)
    assert found["conditions"]["resize"] == "the server's"
    assert "sesame" not in done.output
    assert "Asking the server of tiny" in done.stderr
    (choice,) = json.loads(asked.stdout)["answers"]
    local = call("ask", images / "0.png", "Sharp?", "--choice", "yes", "--choice", "no",
                 "--model", model, "--json")  # fmt: skip
    (known,) = json.loads(local.stdout)["answers"]
    assert choice["probabilities"] == pytest.approx(known["probabilities"], abs=1e-5)


def test_a_folder_that_is_no_model_is_named(images, tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        raise call("score", "--model", tmp_path, images).exception


def test_a_runs_folder_stands_for_its_model(model, images, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.model.parent.mkdir(parents=True)
    run.model.symlink_to(model)
    of_run, of_model = (call("score", "--model", m, images) for m in (run.path, model))
    assert (of_run.exit_code, of_run.stdout) == (0, of_model.stdout)


def test_the_selftest_tells_another_models_weights(model, tmp_path):
    done = call("score", "--model", model, "--selftest", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["passed"], len(found["found"])) == (0, True, 3)
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in model.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    weights = load_file(changed / "model.safetensors")
    name = next(n for n in weights if n.endswith("norm.weight") and "language" in n)
    noise = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    weights[name] = weights[name] + noise
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    done = call("score", "--model", changed, "--selftest", "--json")
    assert (done.exit_code, json.loads(done.stdout)["passed"]) == (1, False)
    (changed / reference.FILE).unlink()
    with pytest.raises(InputError, match=r"reference_scores\.json: missing"):
        raise call("score", "--model", changed, "--selftest").exception


def test_another_profile_has_no_reference(model):
    with pytest.raises(InputError, match="of the profile paper; the profile here is official"):
        raise call("score", "--model", model, "--selftest", "--profile", "official").exception


def test_without_a_score_there_is_still_a_line_of_columns(model, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    done = call("score", "--model", model, tmp_path / "bad.png")
    assert done.stdout == "image,score,std,entropy,rank_key,bad,poor,fair,good,excellent\n"
    out = tmp_path / "s.parquet"
    call("score", "--model", model, tmp_path / "bad.png", "--out", out)
    assert pq.read_table(out).column_names == done.stdout.strip().split(",")


@pytest.mark.parametrize("verb", ["ask", "describe"])
def test_an_image_that_is_none_is_told_before_a_model_is_loaded(tmp_path, verb):
    words = ["Sharp?"] if verb == "ask" else []
    with pytest.raises(InputError, match=r"gone\.png: image file is missing"):
        raise call(verb, tmp_path / "gone.png", *words, "--model", "no/model").exception


@pytest.fixture
def place(model, images, tmp_path, monkeypatch):
    """A folder with a model and photographs at the names that the pages use."""
    (tmp_path / "MODEL").symlink_to(model)
    for name in ("photos", "before", "after"):
        (tmp_path / name).symlink_to(images)
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        with Image.open(images / "0.png") as image:
            image.save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def programs(page):
    """What the Python programs of a page print, each in a process of its own."""
    printed = []
    for program in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, (program, done.stderr[-2000:])
        printed.append(done.stdout)
    return printed


def test_the_commands_of_the_page_run(place):
    """docs/USE.md as it stands."""
    page = (ROOT / "docs" / "USE.md").read_text()
    # `vllm serve` of the page is not run: a stub of the same answers stands in its place.
    served = Server(load.load("MODEL", torch.float32), model="MODEL")
    commands = re.findall(r"^    qsit (.*)$", page, re.MULTILINE)
    elsewhere = [c for c in commands if c.startswith("serve ") or "--output" in c]
    assert len(elsewhere) == 2  # run by tests/service/test_serve.py and tests/rating/test_job.py
    here = [command for command in commands if command not in elsewhere]
    assert len(here) == 9
    try:
        for command in here:
            there = command.replace("http://127.0.0.1:8000/v1", served.url)
            done = call(*shlex.split(there, comments=True))
            assert done.exit_code == 0, (command, done.output)
    finally:
        served.close()
    assert len(served.requests) == 6
    rows = pq.read_table("scores.parquet").to_pylist()
    others = list(csv.DictReader(Path("served.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == [other["image"] for other in others]
    for row, other in zip(rows, others, strict=True):
        assert float(other["score"]) == pytest.approx(row["score"], abs=1e-6)
    assert "no pair differs" in Path("page.html").read_text()


def test_the_programs_of_the_pages_run(place):
    """docs/USE.md's and README.md's as they stand."""
    scores, metric = programs("docs/USE.md")
    assert scores.count("Score(image=") == 2
    assert re.match(r"tensor\(\[\d\.\d+, \d\.\d+\]\) False 1, 5\n", metric)
    (example,) = programs("README.md")
    rater = qsit_ray.Rater.load(place / "MODEL")
    score, answer = example.removesuffix("\n").split(" ", 1)
    assert float(score) == pytest.approx(rater.score("photo.jpg").score, abs=1e-4)
    assert answer == rater.ask("photo.jpg", "Is it sharp?").text


def test_questions_and_choices(model, images):
    words = ["ask", images / "0.png", "Sharp?", "Noisy?", "--model", model, "--json"]
    free = json.loads(call(*words, "--most-tokens", 4).stdout)["answers"]
    assert [each["question"] for each in free] == ["Sharp?", "Noisy?"]
    closed = json.loads(call(*words, "--choice", "yes", "--choice", "no").stdout)["answers"]
    for each in closed:
        assert each["answer"] == max(each["probabilities"], key=each["probabilities"].get)
        assert sum(each["probabilities"].values()) == pytest.approx(1)
    shown = call(*words[:-1], "--choice", "yes", "--choice", "no").stdout
    assert shown.splitlines()[1].startswith(closed[0]["answer"])
    with pytest.raises(InputError, match="two or more"):
        raise call(*words, "--choice", "yes").exception
    cut = call("describe", images / "0.png", "--model", model, "--most-tokens", 2)
    assert (cut.exit_code, "the answer was cut" in cut.stderr) == (0, True)


def test_what_was_scored_before_a_failure_is_kept(model, images, tmp_path, monkeypatch):
    from qsit_ray.rating.rater import Rater

    whole = Rater.scores

    def failing(self, sources):
        for number, each in enumerate(whole(self, sources)):
            if number == 3:
                raise OSError("the disk is gone")
            yield each

    monkeypatch.setattr(Rater, "scores", failing)
    out = tmp_path / "s.csv"
    with pytest.raises(OSError, match="disk is gone"):
        raise call("score", "--model", model, images, "--out", out).exception
    rows = [json.loads(x) for x in (tmp_path / "s.csv.partial.jsonl").open()]
    assert [row["image"] for row in rows] == [str(images / f"{n}.png") for n in range(3)]
    monkeypatch.undo()
    assert call("score", "--model", model, images, "--out", out).exit_code == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.csv", "s.csv.conditions.json"]


def test_scores_are_printed_as_they_come(model, images, monkeypatch):
    from qsit_ray.rating.rater import Rater

    whole = Rater.scores

    def failing(self, sources):
        yield from list(whole(self, sources))[:2]
        raise OSError("the disk is gone")

    monkeypatch.setattr(Rater, "scores", failing)
    done = call("score", "--model", model, images)
    assert isinstance(done.exception, OSError)
    assert len(done.stdout.splitlines()) == 3


def test_a_name_that_is_no_text_is_written(model, images, tmp_path):
    odd = tmp_path / "in"
    odd.mkdir()
    (odd / os.fsdecode(b"a\xff.png")).write_bytes((images / "0.png").read_bytes())
    assert call("score", "--model", model, odd, "--out", tmp_path / "s.parquet").exit_code == 0
    (row,) = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert row["image"].endswith("a\\udcff.png")
