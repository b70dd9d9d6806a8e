"""Trackers get each epoch's numbers, continue a resumed run, and never stop a training."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from qsit_pools import losses

from qsit_ray.config.files import override
from qsit_ray.config.presets import demo
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.run_files import EpochLine
from qsit_ray.step_lines import StepLine
from qsit_ray.train import trackers

LINE = EpochLine(
    epoch=1,
    sizes=Mixture.of(10, 20, 5),
    losses=losses(0.5, 1.0),
    loss_ratio=0.5,
    reference_loss_ratio=None,
    verdict="hold",
    next_sizes=Mixture.of(12, 20, 5),
    srcc=None,
    accuracy=0.25,
    plan_sha256="ab",
    consumed=2**63,
    planned=2**63,
    rows_planned=36,
    rows_trained=35,
    rows_skipped=1,
    answers_cut=0,
    timing={"train_seconds": 4.0},
)
NUMBERS = {
    "sizes/scoring": 10.0,
    "sizes/interpreting": 20.0,
    "sizes/general": 5.0,
    "loss_scoring": 0.5,
    "loss_interpreting": 1.0,
    "loss_ratio": 0.5,
    "accuracy": 0.25,
    "rows_planned": 36.0,
    "rows_trained": 35.0,
    "rows_skipped": 1.0,
    "answers_cut": 0.0,
    "timing/train_seconds": 4.0,
}


STEP = StepLine(
    time="2026-01-01T00:00:00+00:00",
    epoch=1,
    step=5,
    loss=2.0,
    losses={"scoring": 0.5, "interpreting": None, "general": 3.0},
    gradient_norm=1.5,
    rate=1e-5,
    rows=64,
    tokens=320_000,
    seconds=8.0,
    stall_seconds=0.5,
    mfu=None,
    peak_memory_gib=None,
)
STEP_NUMBERS = {
    "step/loss": 2.0,
    "step/loss_scoring": 0.5,
    "step/loss_general": 3.0,
    "step/gradient_norm": 1.5,
    "step/rate": 1e-5,
    "step/rows": 64.0,
    "step/tokens": 320_000.0,
    "step/seconds": 8.0,
    "step/stall_seconds": 0.5,
    "step/rows_per_second": 8.0,
    "step/tokens_per_second": 40_000.0,
}


class FakeMlflow:
    """A tracking server in memory, with the client's methods that are used."""

    def __init__(self):
        self.experiments, self.runs, self.logged, self.ended = {}, {}, [], []

    def __call__(self, uri):
        self.uri = uri
        return self

    def get_experiment_by_name(self, name):
        return self.experiments.get(name)

    def create_experiment(self, name):
        self.experiments[name] = SimpleNamespace(experiment_id=str(len(self.experiments)))
        return self.experiments[name].experiment_id

    def search_runs(self, experiments, query):
        return [run for run in self.runs.values() if query == f"tags.qsit_run = '{run.key}'"]

    def create_run(self, experiment, tags, run_name):
        run = SimpleNamespace(
            info=SimpleNamespace(run_id=f"r{len(self.runs)}"), key=tags["qsit_run"], params={}
        )
        self.runs[run.info.run_id] = run
        return run

    def update_run(self, run, status):
        assert run in self.runs

    def log_param(self, run, name, value):
        self.runs[run].params[name] = value

    def log_metric(self, run, name, value, step):
        self.logged.append((run, name, value, step))

    def set_terminated(self, run):
        self.ended.append(run)


@pytest.fixture
def mlflow(monkeypatch):
    fake, package, tracking = FakeMlflow(), ModuleType("mlflow"), ModuleType("mlflow.tracking")
    tracking.MlflowClient = fake
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.tracking", tracking)
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    return fake


@pytest.fixture
def wandb(monkeypatch):
    calls = []
    run = SimpleNamespace(
        log=lambda values: calls.append(("log", values)),
        define_metric=lambda name, step_metric: calls.append(("axis", name, step_metric)),
        finish=lambda: calls.append(("finish",)),
    )
    package = ModuleType("wandb")
    package.init = lambda **asked: calls.append(("init", asked)) or run
    monkeypatch.setitem(sys.modules, "wandb", package)
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    return calls


def settings(text):
    return override(demo(), [f"train.trackers={text}"]).train.trackers


MLFLOW = "[{mlflow: {tracking_uri: 'http://server', experiment: mixes}}]"


def test_a_lines_numbers_are_logged_and_checksums_are_not():
    assert trackers.metrics(LINE) == NUMBERS


def test_mlflow_gets_the_epochs_numbers_and_the_settings(mlflow, tmp_path):
    log = trackers.connect(settings(MLFLOW), "key", {"train.epochs": 3}, tmp_path)
    log.log(LINE)
    log.close()
    assert mlflow.uri == "http://server"
    assert set(mlflow.experiments) == {"mixes"}
    assert mlflow.runs["r0"].params == {"train.epochs": 3}
    assert {name: value for _, name, value, _ in mlflow.logged} == NUMBERS
    assert {step for *_, step in mlflow.logged} == {1}
    assert mlflow.ended == ["r0"]


def test_mlflow_gets_a_steps_numbers_by_the_number_of_the_step(mlflow, tmp_path):
    trackers.connect(settings(MLFLOW), "key", {}, tmp_path).log_step(STEP, 41)
    assert {name: value for _, name, value, _ in mlflow.logged} == STEP_NUMBERS
    assert {step for *_, step in mlflow.logged} == {41}


def test_a_resumed_run_continues_in_the_same_place(mlflow, tmp_path):
    for key in ("key", "key", "other"):
        trackers.connect(settings(MLFLOW), key, {}, tmp_path).log(LINE)
    assert len(mlflow.runs) == 2
    assert [run for run, *_ in mlflow.logged] == ["r0"] * 2 * len(NUMBERS) + ["r1"] * len(NUMBERS)


def test_wandb_gets_the_epochs_numbers_and_resumes_by_the_runs_key(wandb, tmp_path):
    log = trackers.connect(
        settings("[{wandb: {project: mixes, mode: offline}}]"), "key", {"seed": 1}, tmp_path
    )
    log.log(LINE)
    log.log_step(STEP, 41)
    log.close()
    (_, asked), *rest = wandb
    assert (asked["id"], asked["resume"], asked["mode"]) == ("key", "allow", "offline")
    assert (asked["project"], asked["config"]) == ("mixes", {"seed": 1})
    axes = [("axis", "*", "epoch"), ("axis", "step/*", "step")]
    logged = [("log", {**NUMBERS, "epoch": 1}), ("log", {**STEP_NUMBERS, "step": 41})]
    assert rest == [*axes, *logged, ("finish",)]


def test_a_tracker_that_fails_later_is_dropped(mlflow, tmp_path, monkeypatch):
    log = trackers.connect(settings(MLFLOW), "key", {}, tmp_path)

    def down(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(mlflow, "log_metric", down)
    with pytest.warns(UserWarning, match="MlflowLog: no longer logged to: no route"):
        log.log(LINE)
    log.log(LINE)
    log.close()
    assert mlflow.ended == []


def test_a_tracker_that_is_down_at_the_end_costs_no_training(mlflow, tmp_path, monkeypatch):
    log = trackers.connect(settings(MLFLOW), "key", {}, tmp_path)
    log.log(LINE)
    monkeypatch.setattr(mlflow, "set_terminated", lambda run: 1 / 0)
    with pytest.warns(UserWarning, match="MlflowLog: no longer logged to: division"):
        log.close()


def test_a_tracker_that_does_not_answer_at_first_is_an_error(mlflow, tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow, "get_experiment_by_name", lambda name: 1 / 0)
    with pytest.raises(InputError, match=r"train\.trackers: mlflow does not answer: division"):
        trackers.connect(settings(MLFLOW), "key", {}, tmp_path)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named(name, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    asked = {"mlflow": MLFLOW, "wandb": "[{wandb: {}}]"}[name]
    with pytest.raises(InputError, match=rf"{name} is not installed; .*qsit_ray\[{name}\]"):
        trackers.require(settings(asked))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{mlflow: {tracking_uri: 'https://me:secret@server'}}]", "no user or password"),
        ("[{mlflow: {tracking_uri: a}, wandb: {}}]", "either mlflow or wandb"),
        ("[{}]", "either mlflow or wandb"),
        ("[{wandb: {api_key: secret}}]", "unknown key"),
    ],
)
def test_secrets_and_ambiguous_trackers_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        settings(text)
