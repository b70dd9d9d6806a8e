"""The whole method through the command line: small models, real Ray, real DeepSpeed.

One undisturbed run serves most tests; another is killed several times and must end the same.
"""

import json
import os
import random
import shutil
import signal
import subprocess

import planted_secrets
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import (
    QSIT,
    SMALL,
    call,
    epochs,
    kill_when,
    read,
    sets,
    stopped,
    untimed,
    words,
)
from run_page import unnamed

from qsit_ray.mixture import DOMAINS, half_up, ratios_at

AXES = ("interpreting_general", "interpreting_scoring")
RATIOS = "[0.1, 0.3, 1.0, 3.0, 10.0]"
SEARCHED = {
    "search.interpreting_general.ratios": RATIOS,
    "search.interpreting_scoring.ratios": RATIOS,
    "search.interpreting_general.seeds": "[0, 1]",
    "search.interpreting_scoring.seeds": "[0]",
    "train.training.batch_size": 16,
    "train.micro_batch": 4,
    "train.checkpoint_steps": 2,
    "evaluate.batch_tokens": 400,  # several batches of each kind
}


def command(out, cache, **extra):
    return words(out, "demo", {**SMALL, **SEARCHED, "cache": cache, **extra})


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def run(tmp_path_factory, cache):
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    environment = {**os.environ, **planted_secrets.PLANTED}
    done = subprocess.run(command(out, cache), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (out / "stdout.txt").write_text(done.stdout)
    assert done.stderr == ""
    return out


def test_no_file_of_a_run_has_a_secret_of_its_environment(run, cache):
    names = {path.name for path in run.rglob("*")}
    assert {"config.yaml", "qsit.log", "report.html", "committed.json", "stdout.txt"} <= names
    assert planted_secrets.in_files(run) == planted_secrets.in_files(cache) == []


def trials(run, axis):
    table = pq.read_table(run / "search" / axis / "trials.parquet")
    return table.drop_columns("device_seconds").to_pylist()


def comparable(run):
    """All results of a run except the seconds."""
    files = ("mixture.json", "evaluation/iqa.json", "evaluation/llvisionqa.json")
    return untimed(run), [trials(run, axis) for axis in AXES], [read(run / n) for n in files]


@pytest.mark.parametrize("axis", AXES)
def test_every_grid_point_is_one_completed_trial(run, axis):
    table = pq.read_table(run / "search" / axis / "trials.parquet").to_pylist()
    seeds = (0, 1) if axis == AXES[0] else (0,)
    points = [(ratio, seed) for ratio in json.loads(RATIOS) for seed in seeds]
    assert [(row["ratio"], row["seed"]) for row in table] == points
    assert {row["status"] for row in table} == {"completed"}
    for row in table:
        assert row["loss_scoring"] > 0
        assert row["loss_interpreting"] > 0
        assert 0 <= row["accuracy"] <= 1


def test_trials_have_the_rows_of_their_ratio(run):
    first, second = (
        pq.read_table(run / "search" / axis / "trials.parquet").to_pylist() for axis in AXES
    )
    assert all(row["rows_scoring"] == 0 for row in first)
    assert {(row["rows_interpreting"], row["rows_general"]) for row in first} == {
        (8, 80), (24, 80), (80, 80), (80, 27), (80, 8)
    }  # fmt: skip
    optimum = read(run / "search" / AXES[0] / "fit.json")["ratio"]
    for row in second:
        assert row["rows_scoring"] == 40
        assert row["rows_interpreting"] == half_up(
            40
            * ratios_at(DOMAINS, dict(zip(AXES, (optimum, row["ratio"]), strict=True)))[
                "interpreting"
            ]
        )


def test_the_mixture_is_the_two_optima(run):
    mixture = read(run / "mixture.json")
    optima = [read(run / "search" / axis / "fit.json")["ratio"] for axis in AXES]
    for domain, ratio in ratios_at(DOMAINS, dict(zip(AXES, optima, strict=True))).items():
        assert mixture["ratios"][domain] == pytest.approx(ratio)
        assert mixture["rows"][domain] == half_up(40 * ratio)
    assert all(0.1 <= optimum <= 10 for optimum in optima)
    proxies = pq.read_table(run / "proxy" / "trials.parquet").to_pylist()
    scoring = sum(row["loss_scoring"] for row in proxies)
    interpreting = sum(row["loss_interpreting"] for row in proxies)
    assert mixture["reference_loss_ratio"] == pytest.approx(scoring / interpreting)


def test_every_planned_row_is_trained_and_sizes_follow_the_decisions(run):
    trained = epochs(run)
    assert [line["epoch"] for line in trained] == [0, 1, 2]
    assert trained[0]["sizes"] == read(run / "mixture.json")["rows"]
    for line in trained:
        assert line["consumed"] == line["planned"]
        assert line["rows_trained"] == line["rows_planned"] == sum(line["sizes"].values())
        assert line["loss_ratio"] == line["loss_scoring"] / line["loss_interpreting"]
    assert [line["sizes"] for line in trained[1:]] == [line["next_sizes"] for line in trained[:-1]]
    assert trained[-1]["next_sizes"] is None


def test_plain_transformers_loads_the_trained_model_and_answers(run):
    from PIL import Image
    from transformers import LlavaOnevisionForConditionalGeneration

    from qsit_ray.models import load

    folder = run / "train" / "model"
    assert not list(folder.glob("*.bin")) + list(folder.glob("*.pt"))
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
    processor = load.load_processor(folder)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Blurred?"}]}],
        add_generation_prompt=True,
    )
    inputs = processor(images=Image.new("RGB", (64, 64)), text=text, return_tensors="pt")
    reply = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert reply.shape[1] > inputs["input_ids"].shape[1]


def test_evaluation_has_all_models_and_every_item(run):
    scores, answers = (read(run / "evaluation" / f"{n}.json") for n in ("iqa", "llvisionqa"))
    models = {"primary", "primary_untrained", "proxy"}
    assert set(scores) == set(answers) == models
    for model in models:
        assert scores[model]["demo"]["rows"] == 24
        assert answers[model]["rows"] == 30
    rows = pq.read_table(run / "evaluation" / "predictions.parquet").to_pylist()
    assert len(rows) == 3 * (24 + 30)
    for row in rows:
        kind, other = ("level_shares", "candidate_shares")[
            :: 1 if row["benchmark"] == "iqa" else -1
        ]
        assert sum(row[kind]) == pytest.approx(1, abs=1e-6) and row[other] is None


def test_the_report_and_the_ledger_are_written(run):
    page = (run / "report.html").read_text()
    assert "D1" in page and 'class="levels"' in page and "data:image/jpeg" in page
    assert len(page) < 5_000_000
    stages = read(run / "ledger.json")["stages"]
    assert {"data", "pretrain", "proxies", "train", "evaluate"} <= set(stages)


def test_every_file_of_a_run_is_on_its_page(run):
    """docs/RUN_FOLDER.md. The one that it does not name is the fixture's."""
    assert unnamed(run) == ["stdout.txt"]


def test_the_terminal_shows_progress_and_results_and_nothing_else(run):
    shown = (run / "stdout.txt").read_text()
    assert "Train the primary: " in shown
    assert str(run / "report.html") in shown
    assert str(run / "qsit.log") in shown
    for noise in ("Warning", "Traceback", "(pid=", "INFO", "deprecat"):
        assert noise not in shown


def test_the_same_command_again_changes_nothing(run, cache):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.json*") if path.is_file()}
    assert subprocess.run(command(run, cache), capture_output=True).returncode == 0
    kept = {p: t for p, t in before.items() if p.name not in ("ledger.json",)}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_show_prints_the_results(run):
    shown = call("show", run)
    assert shown.returncode == 0
    assert "D1 : D2 : D3" in shown.stdout


def test_another_configuration_is_refused_and_nothing_is_lost(run, cache):
    before = (run / "mixture.json").read_text()
    done = subprocess.run(
        command(run, cache, **{"train.epochs": 2}), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "train.epochs" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (run / "mixture.json").read_text() == before


def before_stage(run, out, stage):
    """A copy of the run as it was before `search` or `train`."""
    later = {
        "search": ("search", "proxy", "mixture.json", "train", "evaluation"),
        "train": ("train", "evaluation"),
    }
    shutil.copytree(run, out, ignore=shutil.ignore_patterns(*later[stage]))
    done = list(read(run / "stages.json").items())
    first = next(number for number, (name, _) in enumerate(done) if name.startswith(stage))
    (out / "stages.json").write_text(json.dumps(dict(done[:first])))
    return out


class Kept:
    """Checks that no trial that has ended is run again."""

    def __init__(self, out):
        self.out = out
        self.written = {}

    def check(self):
        for path, written in self.written.items():
            assert path.stat().st_mtime_ns == written
        files = self.out.glob("**/outcomes/*.json")
        self.written.update({path: path.stat().st_mtime_ns for path in files})


def outcomes(out, axis, count):
    return lambda shown: len(list(out.glob(f"search/{axis}/outcomes/*.json"))) >= count


def trained(out):
    return lambda shown: (out / "train" / "epochs.jsonl").exists()


@pytest.mark.slow
def test_a_search_that_is_stopped_and_killed_ends_the_same(run, tmp_path):
    """Ctrl-C, then kill -9 of all processes; of a training: `train/test_interrupted.py`."""
    out = before_stage(run, tmp_path / "killed", "search")
    stages = read(out / "stages.json")
    again, kept = [QSIT, "search", "run", str(out)], Kept(out)
    with subprocess.Popen(again, stderr=subprocess.PIPE, text=True) as command:
        while not outcomes(out, AXES[0], 1)(""):
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        assert command.wait() == 130
        assert f"finished work is kept in {out}" in command.stderr.read()
    kept.check()
    assert not (out / "search" / AXES[0] / "trials.parquet").exists()
    assert read(out / "stages.json") == stages
    kill_when(outcomes(out, AXES[0], 4), again)
    kept.check()
    done = subprocess.run(again, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    kept.check()
    assert trials(out, AXES[0]) == trials(run, AXES[0])


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_the_same(run, tmp_path):
    """At moments drawn from a seed; pre-training is killed too, and single stages resume."""
    out = tmp_path / "killed"
    chance = random.Random(7)
    cold, kept = command(out, tmp_path / "cache"), Kept(out)
    kill_when(lambda shown: any((tmp_path / "cache").rglob("tower.safetensors")), cold)
    for axis in AXES:
        kill_when(outcomes(out, axis, chance.randint(1, 4)), cold)
        kept.check()
        if axis == AXES[0]:
            for verb in (["search", "run"], ["fit"]):
                done = call(*verb, out)
                assert done.returncode == 0, done.stdout + done.stderr
            kept.check()
    kill_when(trained(out), cold)
    kept.check()
    done = subprocess.run(cold, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert comparable(out) == comparable(run)


def test_settings_of_memory_patience_and_reporting_change_in_mid_run(run, tmp_path):
    """As after an out-of-memory end: smaller micro-batches, other checkpoints, another policy. The
    first command is stopped as by a scheduler."""
    out = before_stage(run, tmp_path / "lighter", "train")
    stopped(out, (1, 2), signal.SIGTERM, 143)
    lighter = {
        "train.micro_batch": 8,
        "train.activation_checkpointing": True,
        "train.checkpoint_steps": 3,
        "train.checkpoints_kept": 1,
        "train.max_failures": 1,
        "train.on_bad_loss": "rollback",
        "train.loss_limit": 25.0,
        "evaluate.batch_tokens": 800,
        "search.max_failures": 4,
    }
    done = call("train", "run", out, *sets(lighter))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train.micro_batch: 8 from now on, 4 before" in done.stdout
    (change,) = yaml.safe_load((out / "config.yaml").read_text())["history"]
    assert set(change["changed"]) == set(lighter)
    assert len(epochs(out)) == 3
    for one, other in zip(untimed(out), untimed(run), strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            # Other shapes round otherwise; everything else is the same.
            loose = isinstance(value, float)
            assert one[name] == (pytest.approx(value, rel=1e-4) if loose else value), name


def test_a_training_of_another_mixture_is_not_started_again(run, tmp_path):
    out = shutil.copytree(run, tmp_path / "changed")
    before = (out / "train" / "epochs.jsonl").read_text()
    mixture = read(out / "mixture.json")
    mixture["rows"]["general"] += 1
    (out / "mixture.json").write_text(json.dumps(mixture))
    done = call("train", "run", out)
    assert done.returncode == 2
    assert "another mixture" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (out / "train" / "epochs.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda run: (run / "config.yaml").write_text("preset: ["), "config.yaml: not YAML"),
        (lambda run: (run / "config.yaml").write_text("a: 1"), "config.yaml"),
        (lambda run: (run / "config.yaml").unlink(), "no run here"),
    ],
)
def test_an_unreadable_run_is_one_line_and_status_2(run, tmp_path, break_it, words):
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(run / "config.yaml", broken)
    break_it(broken)
    for verb in (["show"], ["fit"], ["train", "run"]):
        done = call(*verb, broken)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_stage_names_its_missing_input(run, tmp_path):
    early = tmp_path / "early"
    early.mkdir()
    shutil.copy(run / "config.yaml", early)
    done = call("fit", early)
    assert done.returncode == 2
    assert "qsit search run" in done.stderr


def test_a_run_that_needs_more_memory_or_disk_is_refused(cache, tmp_path):
    for setting, resource in (("train.workers", "memory"), ("data.general", "disk")):
        extra = {setting: 10**9, "train.training.batch_size": 16 * 10**9}
        if setting == "data.general":
            extra = {setting: 10**12}
        done = subprocess.run(
            command(tmp_path / "big", cache, **extra), capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"qsit: {resource}")
        assert not (tmp_path / "big" / "config.yaml").exists()
