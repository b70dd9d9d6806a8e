"""`qsit run --from`: a changed run keeps what its settings leave; the other run stays as it is."""

import json
import os
import subprocess

import pytest
from command_line import QSIT, call, read, sets, words

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.changes import changes, parts_of
from qsit_ray.config.files import override
from qsit_ray.errors import InputError
from qsit_ray.fork import fork, kept
from qsit_ray.mixture import AXES
from qsit_ray.run_config import RunConfig

FIRST, SECOND = AXES
STAGES = [
    *("data", "tokens proxy", "tokens primary"),
    *(f"{kind} {axis}" for axis in AXES for kind in ("search", "fit")),
    *("proxies", "train", "evaluate"),
]
FILES = [
    *("catalog/rows.parquet", "tokens/proxy.arrow", "features/tower/keys.npy", "hashes.json"),
    *(f"search/{axis}/outcomes/a.json" for axis in AXES),
    *("proxy/model/weights", "mixture.json", "train/steps.jsonl", "train/model/weights"),
    "evaluation/iqa.json",
]
# A rehearsal of the least searches: a trial a ratio.
LEAST = {
    "search.rehearsal.rows_per_second": 100_000_000,
    **{f"search.{axis}.ratios": "[0.5, 1, 2]" for axis in AXES},
    **{f"search.{axis}.seeds": "[0]" for axis in AXES},
    **{f"search.{axis}.degree": 2 for axis in AXES},
    "search.proxy_seeds": "[0]",
}


@pytest.fixture
def source(tmp_path):
    """A run of which all parts are there."""
    run = RunFolder(tmp_path / "source")
    RunConfig(presets.paper(), {"git": None}, []).write(run)
    for name in FILES:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text(name)
    record = {"inputs": "0", "wall_seconds": 1.0, "device_seconds": 1.0}
    artifacts.write_json(run.stages, dict.fromkeys(STAGES, record))
    return run


def files_of(run):
    return {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}


def settings(*assignments):
    return override(presets.paper(), assignments)


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("evaluate.confidence=0.9", 4),
        ("train.micro_batch=1", 4),
        ("train.training.learning_rate=1e-4", 3),
        ("models.primary=org/other", 3),
        ("search.proxy_seeds=[0, 1, 2, 3, 4]", 3),
        ("search.proxy_seeds=[5]", 2),
        ("mix={scoring: 1, interpreting: 2, general: 1}", 2),
        (f"search.{SECOND}.degree=3", 2),
        (f"search.{SECOND}.seeds=[0, 1, 2, 3]", 2),
        (f"search.{SECOND}.objective=losses", 1),
        (f"search.{FIRST}.degree=3", 1),
        (f"search.{FIRST}.seeds=[0, 1, 2, 3]", 1),
        ("search.scouts={ratios: 4}", 1),
        ("search.training.learning_rate=1e-4", 0),
        ("seed=1", 0),
    ],
)
def test_a_part_is_kept_where_it_and_those_before_it_are_the_same(assignment, parts):
    found = changes(presets.paper(), settings(assignment))
    assert found
    axes = presets.paper().axes
    assert kept(found, axes) == parts_of(axes)[:parts]


def test_what_is_kept_is_there_with_its_stages_and_the_rest_is_not(source, tmp_path):
    run = RunFolder(tmp_path / "new")
    stages = fork(source, run, settings(f"search.{SECOND}.objective=losses"))
    assert stages == list(run.completed()) == STAGES[:5]
    assert files_of(run) - {"stages.json"} == set(FILES[:5])
    for name in FILES[:5]:
        assert (run.path / name).read_text() == name
    assert not run.config.exists()


def test_nothing_that_grows_or_is_written_in_place_is_a_link(source, tmp_path):
    run = RunFolder(tmp_path / "new")
    fork(source, run, presets.paper())
    assert files_of(run) == files_of(source) - {"config.yaml", ".lock"}
    linked = {n for n in FILES if (source.path / n).samefile(run.path / n)}
    assert linked == {*FILES[:3], "proxy/model/weights", "train/model/weights"}
    assert not source.stages.samefile(run.stages)


def test_a_disk_without_links_has_copies(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    run = RunFolder(tmp_path / "new")
    fork(source, run, presets.paper())
    for name in FILES:
        assert (run.path / name).read_text() == name
        assert not (source.path / name).samefile(run.path / name)


def test_a_link_to_images_leads_to_them_from_another_depth(source, tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.png").write_text("a")
    (source.catalog / "images").symlink_to("../../photographs")
    run = RunFolder(tmp_path / "runs" / "below" / "new")
    fork(source, run, presets.paper())
    assert (run.catalog / "images").is_symlink()
    assert (run.catalog / "images" / "a.png").read_text() == "a"


def test_what_a_killed_copy_left_is_copied_again(source, tmp_path):
    run = RunFolder(tmp_path / "new")
    fork(source, run, presets.paper())
    (run.path / "catalog" / "rows.parquet").unlink()
    fork(source, run, presets.paper())
    assert (run.path / "catalog" / "rows.parquet").read_text() == "catalog/rows.parquet"


def test_what_an_earlier_call_with_other_settings_left_goes(source, tmp_path):
    run = RunFolder(tmp_path / "new")
    fork(source, run, presets.paper())
    assert fork(source, run, settings("seed=1")) == STAGES[:3]
    assert files_of(run) - {"stages.json"} == set(FILES[:4])


def test_checkpoints_are_linked_and_their_list_is_not(source, tmp_path):
    run = RunFolder(tmp_path / "new")
    names = [
        f"train/ray-1/{name}" for name in ("epoch_0000_step_4_ab/deepspeed/a", "committed.json")
    ]
    for name in names:
        (source.path / name).parent.mkdir(parents=True, exist_ok=True)
        (source.path / name).write_text(name)
    fork(source, run, presets.paper())
    assert [(source.path / n).samefile(run.path / n) for n in names] == [True, False]


def test_a_run_of_another_origin_is_not_resumed_with_it(source, tmp_path):
    new = tmp_path / "new"
    RunConfig(presets.paper(), {"git": None}, []).write(RunFolder(new))
    done = call("run", "--from", source.path, "--out", new)
    assert done.returncode == 2
    assert done.stderr.startswith(f"qsit: {new}: a run that was not made from {source.path}; ")


def test_two_runs_share_no_storage_and_another_one_has_no_trials(source, tmp_path):
    run, stored = RunFolder(tmp_path / "new"), settings("search.storage=s3://b/one")
    RunConfig(stored, {"git": None}, []).write(source)
    with pytest.raises(InputError, match=r"search\.storage: .* to another"):
        fork(source, run, stored)
    assert fork(source, run, settings("search.storage=s3://b/two")) == STAGES[:3]


def test_a_run_that_is_worked_on_and_the_run_itself_are_refused(source, tmp_path):
    with source.lock(), pytest.raises(InputError, match="another qsit process works on this run"):
        fork(source, RunFolder(tmp_path / "new"), presets.paper())
    with pytest.raises(InputError, match="the run itself; give another --out"):
        fork(source, RunFolder(tmp_path / "new" / ".." / "source"), presets.paper())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--preset", "demo"], "--from and --preset: give one of them"),
        (["--set", "train.epoch=1"], "--set: train.epoch: unknown key"),
        (["--from", "nowhere"], "nowhere: no run here (config.yaml is missing)"),
        (["--from", "s3://b/run"], "run: a run folder is on a local or shared disk"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(more, told, source, tmp_path):
    done = call("run", "--from", source.path, "--out", tmp_path / "new", *more)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert told in done.stderr
    assert not (tmp_path / "new").exists()


def trials(run):
    """The outcomes of a run's searches, which have the time that each took."""
    return {
        axis: [json.loads(p.read_text()) for p in sorted(run.glob(f"search/{axis}/outcomes/*"))]
        for axis in AXES
    }


@pytest.mark.slow
def test_only_what_depends_on_a_changed_setting_is_run_again(tmp_path):
    first, trained, searched = (tmp_path / name for name in ("first", "trained", "searched"))
    done = subprocess.run(words(first, "rehearsal", LEAST), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, stages = trials(first), read(first / "stages.json")
    assert [len(each) for each in before.values()] == [3, 3]

    def changed(out, key, value):
        command = [QSIT, "run", "--from", str(first), "--out", str(out), *sets({key: value})]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = changed(trained, "train.training.learning_rate", "1e-4")
    assert f"from {first}: data, search {FIRST}" in said
    assert trials(trained) == before
    now = read(trained / "stages.json")
    assert {n: now[n] for n in stages if n != "train"} == {
        n: each for n, each in stages.items() if n != "train"
    }
    changed(searched, f"search.{SECOND}.seeds", "[1]")
    assert trials(searched)[FIRST] == before[FIRST]
    assert {each["seed"] for each in trials(searched)[SECOND]} == {1}
    now = read(searched / "stages.json")
    assert now[f"search {FIRST}"] == stages[f"search {FIRST}"]
    assert now[f"search {SECOND}"] != stages[f"search {SECOND}"]
    assert trials(first) == before
    assert read(first / "stages.json") == stages
