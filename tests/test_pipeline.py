"""The whole method through the command line: small models, real Ray, real DeepSpeed.

One undisturbed run serves most tests; another is killed again and again and must end the same.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from qsit_ray.mixture import half_up, ratios_at

AXES = ("interpreting_general", "interpreting_scoring")
RATIOS = "[0.1, 0.3, 1.0, 3.0, 10.0]"
SMALL = {
    "pretraining.crops": 200,
    "pretraining.tower_steps": 20,
    "pretraining.alignment_steps": 10,
    "pretraining.alignment_crops": 100,
    "data.scoring": 40,
    "data.interpreting": 80,
    "data.general": 80,
    "data.validation_scoring": 16,
    "data.validation_interpreting": 16,
    "data.validation_images": 24,
    "data.validation_questions": 20,
    "data.test_images": 24,
    "data.test_questions": 30,
    "search.max_steps": 4,
    "search.evaluate_every": 2,
    "search.max_repeats": 5,  # the domains are tiny: ratio 10 on both axes asks for 364 rows of 80
    "search.interpreting_general.ratios": RATIOS,
    "search.interpreting_scoring.ratios": RATIOS,
    "search.interpreting_general.seeds": "[0, 1]",
    "search.interpreting_scoring.seeds": "[0]",
    "search.proxy_seeds": "[0, 1]",
}


def command(out, cache, **extra):
    settings = {**SMALL, "cache": cache, **extra}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return [qsit(), "run", "--preset", "demo", "--out", str(out), *sets]


def qsit():
    return str(Path(sys.executable).parent / "qsit")


def call(*words):
    return subprocess.run([qsit(), *map(str, words)], capture_output=True, text=True)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def run(tmp_path_factory, cache):
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = subprocess.run(command(out, cache), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (out / "stdout.txt").write_text(done.stdout)
    assert done.stderr == ""
    return out


def read(path):
    return json.loads(path.read_text())


def lines(run):
    return [json.loads(line) for line in (run / "train" / "epochs.jsonl").read_text().splitlines()]


def untimed(run):
    return [{k: v for k, v in line.items() if k != "timing"} for line in lines(run)]


def comparable(run):
    """All results of a run but what took how long."""
    trials = {}
    for axis in AXES:
        table = pq.read_table(run / "search" / axis / "trials.parquet")
        trials[axis] = table.drop_columns("device_seconds").to_pylist()
    files = ("mixture.json", "evaluation/iqa.json", "evaluation/llvisionqa.json")
    return untimed(run), trials, [read(run / name) for name in files]


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
    optimum = read(run / "search" / AXES[0] / "fit.json")["optimum"]
    for row in second:
        assert row["rows_scoring"] == 40
        assert row["rows_interpreting"] == half_up(
            40 * ratios_at(optimum, row["ratio"])["interpreting"]
        )


def test_the_mixture_is_the_two_optima(run):
    mixture = read(run / "mixture.json")
    optima = [read(run / "search" / axis / "fit.json")["optimum"] for axis in AXES]
    for domain, ratio in ratios_at(*optima).items():
        assert mixture[domain] == pytest.approx(ratio)
        assert mixture["rows"][domain] == half_up(40 * ratio)
    assert all(0.1 <= optimum <= 10 for optimum in optima)
    proxies = pq.read_table(run / "proxy" / "trials.parquet").to_pylist()
    scoring, interpreting = (
        sum(row[f"loss_{task}"] for row in proxies) for task in ("scoring", "interpreting")
    )
    assert mixture["reference_loss_ratio"] == pytest.approx(scoring / interpreting)


def test_every_planned_row_is_trained_and_sizes_follow_the_decisions(run):
    epochs = lines(run)
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert epochs[0]["sizes"] == read(run / "mixture.json")["rows"]
    for line in epochs:
        assert line["consumed"] == line["planned"]
        assert line["rows_trained"] == line["rows_planned"] == sum(line["sizes"].values())
        assert line["loss_ratio"] == line["loss_scoring"] / line["loss_interpreting"]
    assert [line["sizes"] for line in epochs[1:]] == [line["next_sizes"] for line in epochs[:-1]]
    assert epochs[-1]["next_sizes"] is None


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


def test_the_report_and_the_ledger_stand(run):
    assert "D1" in (run / "report.html").read_text()
    stages = read(run / "ledger.json")["stages"]
    assert {"data", "pretrain", "proxies", "train", "evaluate"} <= set(stages)


def test_the_terminal_shows_progress_and_the_answer_and_nothing_else(run):
    shown = (run / "stdout.txt").read_text()
    assert "Train the primary: " in shown
    assert str(run / "report.html") in shown
    assert str(run / "qsit.log") in shown
    for noise in ("Warning", "Traceback", "(pid=", "INFO", "deprecat"):
        assert noise not in shown


def test_the_same_command_again_does_nothing_new(run, cache):
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


def test_a_killed_run_goes_on_stage_by_stage_and_ends_the_same(run, tmp_path):
    """kill -9 of the command and all its processes, at moments that a seed chooses."""
    out = tmp_path / "killed"
    chance = random.Random(7)
    finished = {}

    def check_that_no_trial_ran_again():
        for path, written in finished.items():
            assert path.stat().st_mtime_ns == written
        finished.update({p: p.stat().st_mtime_ns for p in out.glob("**/outcomes/*.json")})

    def outcomes(axis, count):
        return lambda line: len(list(out.glob(f"search/{axis}/outcomes/*.json"))) >= count

    def trained(line):
        return (out / "train" / "epochs.jsonl").exists()

    cold = command(out, tmp_path / "cache")  # pre-training too is killed, and ends the same
    kill_when(lambda line: "vision tower" in line, cold)
    for axis in AXES:
        kill_when(outcomes(axis, chance.randint(1, 4)), cold)
        check_that_no_trial_ran_again()
        if axis == AXES[0]:  # the stages alone go on as well as the whole
            for verb in (["search", "run"], ["fit"]):
                done = call(*verb, out)
                assert done.returncode == 0, done.stdout + done.stderr
            check_that_no_trial_ran_again()
    kill_when(trained, cold)
    check_that_no_trial_ran_again()
    torn = shutil.copytree(out, tmp_path / "torn")
    for verb in (["train", "run"], ["evaluate", "run"], ["report"]):
        done = call(*verb, out)
        assert done.returncode == 0, done.stdout + done.stderr
    assert comparable(out) == comparable(run)
    # Ray writes its list of checkpoints late and in place: a kill can leave none or half of it.
    (folder,) = torn.glob("train/ray-*")
    (folder / "checkpoint_manager_snapshot.json").write_text('{"ray_version": "2.6')
    done = call("train", "run", torn)
    assert done.returncode == 0, done.stdout + done.stderr
    assert untimed(torn) == untimed(run)


TRAINED_FINELY = {
    "train.training.batch_size": 8,
    "train.micro_batch": 2,
    "train.checkpoint_steps": 2,
    "train.max_failures": 5,
}


def training(run, out, **changes):
    """A run folder beside `run` in which the training comes next, on a mixture of 100 rows."""
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("train", "evaluation", "report.html"))
    values = yaml.safe_load((out / "config.yaml").read_text())
    for key, value in {**TRAINED_FINELY, **changes}.items():
        *parents, name = key.split(".")
        section = values
        for parent in parents:
            section = section[parent]
        section[name] = value
    (out / "config.yaml").write_text(yaml.safe_dump(values))
    mixture = read(out / "mixture.json")
    mixture["rows"] = {"scoring": 24, "interpreting": 48, "general": 24}
    (out / "mixture.json").write_text(json.dumps(mixture))
    return out


def test_a_training_killed_five_times_ends_the_same(run, tmp_path):
    """kill -9 inside epochs and between them, of workers, the controller's actor, the driver."""
    whole, out = (training(run, tmp_path / name) for name in ("whole", "killed"))
    done = call("train", "run", whole)
    assert done.returncode == 0, done.stdout + done.stderr
    chance = random.Random(11)

    def at(epoch):
        """Once a checkpoint is committed at a step of `epoch`, or where it begins."""
        step = chance.choice((2, 4, 6))
        return lambda: committed(out) >= (epoch, step)

    def recorded(epoch):
        return lambda: committed(out) >= (epoch + 1, 0)

    with trained(out) as driver:
        wait(driver, at(0))
        kill(driver, "RayTrainWorker")
        wait(driver, recorded(0))
        kill(driver, "RayTrainWorker")
        wait(driver, at(1))
        kill(driver, "RayTrainWorker", "Course")
        wait(driver, recorded(1))
        driver.kill()
    with trained(out) as driver:
        wait(driver, at(2))
        driver.kill()
    done = call("train", "run", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert untimed(out) == untimed(whole)
    assert all(line["consumed"] == line["planned"] for line in lines(out))
    weights = [r / "train" / "model" / "model.safetensors" for r in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_a_training_goes_on_with_fewer_workers(run, tmp_path):
    whole, out = (training(run, tmp_path / name) for name in ("whole", "fewer"))
    assert call("train", "run", whole).returncode == 0
    with trained(out) as driver:
        wait(driver, lambda: committed(out) >= (1, 2))
    done = call("train", "run", out, "--workers", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    for one, other in zip(lines(out), lines(whole), strict=True):
        assert one["consumed"] == one["planned"] == other["planned"]
        assert one["sizes"] == other["sizes"]
        for loss in ("loss_scoring", "loss_interpreting"):
            assert one[loss] == pytest.approx(other[loss], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "step"), [("stop", 0), ("rollback", 1)])
def test_a_bad_loss_ends_the_training_and_names_the_rows(run, tmp_path, policy, step):
    """No loss is under this limit; going back is allowed once an epoch."""
    changes = {"train.loss_limit": 1e-6, "train.on_bad_loss": policy, "train.max_failures": 1}
    out = training(run, tmp_path / "bad", **changes)
    done = call("train", "run", out)
    assert done.returncode == 1
    assert re.search(rf"epoch 0, step {step}: the loss is [0-9.]+; rows \d+ \(\w+", done.stderr)
    skipped = list(out.glob("train/ray-*/skipped.json"))
    assert len(skipped) == step
    assert [batch["step"] for file in skipped for batch in read(file)] == list(range(step))


@pytest.mark.slow
def test_a_row_whose_image_is_gone_is_named(run, tmp_path):
    out = training(run, tmp_path / "gone", **{"train.max_failures": 0})
    for image in (out / "catalog" / "images").iterdir():
        image.unlink()
    done = call("train", "run", out)
    assert done.returncode == 2
    assert re.search(r"catalog/images/\S+: image file is missing", done.stderr)


def test_a_training_of_another_mixture_is_not_begun_anew(run, tmp_path):
    out = tmp_path / "changed"
    shutil.copytree(run, out)
    before = (out / "train" / "epochs.jsonl").read_text()
    mixture = read(out / "mixture.json")
    mixture["rows"]["general"] += 1
    (out / "mixture.json").write_text(json.dumps(mixture))
    done = call("train", "run", out)
    assert done.returncode == 2
    assert "another mixture" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (out / "train" / "epochs.jsonl").read_text() == before


@contextlib.contextmanager
def trained(run):
    words = [qsit(), "train", "run", str(run)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as driver:
        try:
            yield psutil.Process(driver.pid)
        finally:
            driver.kill()


def committed(run):
    """(epoch, step) that the training would go on from."""
    files = list(run.glob("train/ray-*/committed.json"))
    commits = read(files[0])["commits"] if files else []
    return (commits[-1]["epoch"], commits[-1]["step"]) if commits else (0, 0)


def wait(driver, moment):
    while not moment():
        with contextlib.suppress(psutil.TimeoutExpired):
            pytest.fail(f"the training ended early, with {driver.wait(timeout=0.05)}")


def kill(driver, *names):
    """kill -9 of one process of each Ray actor's name, below a driver."""
    below = {}
    for process in driver.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            below[re.split(r"[. ]", " ".join(process.cmdline()).removeprefix("ray::"))[0]] = process
    for name in names:
        below[name].kill()


def kill_when(moment, words):
    """Run a command and kill it, with all its processes, at the first line for which `moment`."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown = []
    for line in process.stdout:
        shown.append(line)
        if moment(line):
            family = [*psutil.Process(process.pid).children(recursive=True), process]
            for member in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
            process.wait()
            return
    pytest.fail(f"it ended before it could be killed:\n{''.join(shown)}")


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


def test_a_stage_whose_input_is_missing_says_which(run, tmp_path):
    early = tmp_path / "early"
    early.mkdir()
    shutil.copy(run / "config.yaml", early)
    done = call("fit", early)
    assert done.returncode == 2
    assert "qsit search run" in done.stderr


def test_more_memory_or_disk_than_there_is_is_refused(cache, tmp_path):
    for setting, words in (("train.workers", "memory"), ("data.general", "disk")):
        extra = {setting: 10**9, "train.training.batch_size": 16 * 10**9}
        if setting == "data.general":
            extra = {setting: 10**12}
        done = subprocess.run(
            command(tmp_path / "big", cache, **extra), capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"qsit: {words}")
        assert not (tmp_path / "big" / "config.yaml").exists()
