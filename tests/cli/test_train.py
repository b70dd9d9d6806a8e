"""train plan and train show, through the command line."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import call
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from qsit_pools import losses, ratios

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli import app
from qsit_ray.config.files import dump, override
from qsit_ray.config.presets import demo
from qsit_ray.controller import MixtureController, Reference
from qsit_ray.data import writing
from qsit_ray.data.tokens import RowTokens, write_tokens
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.run_files import FoundMix
from qsit_ray.train.checkpoint import Checkpoints
from qsit_ray.train.state import Consumed, Job, Measured, TrainState

PAPER = "train plan --preset paper --gpus 8 --gpu-memory-gb 80 --tokens-per-second 1e4 --json"
SIZES = {"scoring": 40, "interpreting": 90, "general": 70}
FIRST = Mixture.of(40, 60, 30)
CONFIG = override(demo(), ["seed=5"])
BATCH = CONFIG.train.training.batch_size


def qsit(*words):
    """`qsit train …` in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["qsit", "train", *map(str, words)]
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", argv),
        pytest.raises(SystemExit) as ended,
    ):
        app.main()
    return SimpleNamespace(
        returncode=ended.value.code, stdout=out.getvalue(), stderr=err.getvalue()
    )


@pytest.fixture(scope="module")
def paper_plan():
    """In a process of its own: libraries print when they are first imported."""
    done = call(*PAPER.split())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def run(tmp_path):
    """A run after its first of three epochs, without a model."""
    folder = RunFolder(tmp_path / "run")
    artifacts.write_text(folder.config, dump(CONFIG))
    writing.write_counts(folder.catalog, SIZES)
    mixture = FoundMix(ratios(1.0, 1.5, 0.75), 0.5, "answer", FIRST)
    artifacts.write_json(folder.mixture, mixture.to_json())
    decision = MixtureController(FIRST, [Reference(0.0, 0.5)]).observe(0, losses(0.3, 1.0))
    plan = plan_epoch(FIRST, SIZES, 0, 5, BATCH)
    timing = {"train_seconds": 8.0, "stall_seconds": 2.0, "validation_seconds": 1.0}
    state = TrainState(consumed=Consumed(plan.planned, len(plan.rows)), timing=timing)
    job = Job(folder, CONFIG, "base", mixture, Checkpoints(folder.train, 1), "session")
    line = job.line(plan, state, decision, Measured(losses(0.3, 1.0), None, 0.5))
    artifacts.write_jsonl(folder.epochs, [line.to_json()])
    return folder


def test_the_papers_seven_billion_parameters_and_their_states(paper_plan):
    assert paper_plan["parameters"] == pytest.approx(8.03e9, rel=0.01)
    assert paper_plan["trainable_parameters"] == paper_plan["parameters"]
    # The 7B's largest layer is its embedding: 152,000 tokens of 3584 numbers.
    _, wanted, _ = estimate_zero3_model_states_mem_needs(
        paper_plan["parameters"], 152_000 * 3584, 8, 1, cpu_offload=False
    )
    assert paper_plan["state_gib_per_gpu"] == wanted / 2**30
    assert paper_plan["zero_stage"] == 3
    assert paper_plan["fits"] is True


def test_memory_is_that_of_the_fewest_ranks(paper_plan):
    elastic = ["--set", "train.one_node=false", "--set", "train.min_workers=2"]
    done = qsit("plan", "--preset", "paper", "--gpu-memory-gb", 80, "--json", *elastic)
    found = json.loads(done.stdout)
    assert found["gpus"] == 8
    assert found["accumulation"] == paper_plan["accumulation"]
    two = json.loads(qsit("plan", "--preset", "paper", "--gpus", 2, "--json").stdout)
    assert found["peak_gib_per_gpu"] == two["peak_gib_per_gpu"]
    assert found["state_gib_per_gpu"] == two["state_gib_per_gpu"]
    assert "memory: on 2 GPUs (train.min_workers), where each holds most" in found["assumptions"]


def test_the_papers_steps_tokens_and_hours(paper_plan):
    assert paper_plan["global_batch"] == 64 == 8 * paper_plan["micro_batch"]
    assert paper_plan["sizes"] == {"scoring": 14349, "interpreting": 35873, "general": 14923}
    assert paper_plan["steps_per_epoch"] == -(-65145 // 64)
    tokens = paper_plan["tokens_per_epoch"]
    assert paper_plan["hours"] == pytest.approx(3 * tokens / 1e4 / 3600)
    assert any("not searched" in text for text in paper_plan["assumptions"])


def test_the_page_shows_what_the_command_prints(paper_plan):
    page = Path(__file__).parents[2] / "docs" / "TRAIN.md"
    row = (
        f"| {paper_plan['parameters'] / 1e9:.3f} B | {paper_plan['state_gib_per_gpu']:.1f} GiB "
        f"| {paper_plan['activation_gib_per_gpu']:.1f} GiB | yes "
        f"| {paper_plan['steps_per_epoch']:,} | {paper_plan['tokens_per_epoch']:,} |"
    )
    assert row in page.read_text()
    peaks = paper_plan["peak_gib_per_gpu"]
    row = " | ".join(
        [
            *(f"{peak:.1f} GiB" for peak in peaks.values()),
            f"{paper_plan['export_host_gib']:.1f} GiB",
        ]
    )
    fitting = f"{paper_plan['micro_batch_that_fits']} | {paper_plan['batch_tokens_that_fit']:,}"
    assert f"| {row} | {fitting} |" in page.read_text()
    assert list(peaks) == ["training", "optimizer_step", "validation", "evaluation", "export"]


def test_what_is_said_to_fit_fits_and_more_does_not(paper_plan):
    def fits(**settings):
        words = [w for name, value in settings.items() for w in ("--set", f"{name}={value}")]
        done = qsit("plan", "--preset", "paper", "--gpu-memory-gb", 80, "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["fits"]

    rows, tokens = paper_plan["micro_batch_that_fits"], paper_plan["batch_tokens_that_fit"]
    free = {"train.micro_tokens": "null"}
    assert fits(**free, **{"train.micro_batch": rows, "evaluate.batch_tokens": tokens})
    assert not fits(**free, **{"train.micro_batch": rows + 1})
    assert not fits(**{"evaluate.batch_tokens": tokens + 8192})


def test_less_memory_does_not_fit():
    done = qsit("plan", "--preset", "demo", "--gpu-memory-gb", 5, "--json")
    found = json.loads(done.stdout)
    assert found["fits"] is False
    assert found["hours"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("plan --preset paper --gpus 65", "64 has fewer rows than the 65 workers"),
        ("plan --preset paper --gpus 0", "at least 1"),
        ("plan --preset paper --gpu-memory-gb 0", "GPU memory"),
        ("plan --preset demo --tokens-per-second 0", "tokens per second"),
        ("plan", "either a RUN or a --preset"),
        ("plan --preset demo --epoch 0", "--epoch and --out go together"),
        ("plan --preset demo --epoch 0 --out x", "--epoch needs a RUN"),
        ("plan run --epoch 0 --out x --gpus 4", "it takes --out and --json alone"),
        ("plan run --epoch 0 --out x --set seed=3", "it takes --out and --json alone"),
        ("plan --preset demo --set models.primary=nowhere", "nowhere: expected a folder"),
        ("show nowhere", "no run here"),
    ],
)
def test_invalid_options_are_refused(words, message):
    done = qsit(*words.split())
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_runs_plan_starts_from_its_mixture_and_its_rows(run):
    tokens = np.repeat([100, 4_800, 333], list(SIZES.values()))
    run.tokens("primary").parent.mkdir()
    write_tokens(run.tokens("primary"), RowTokens(tokens, np.ones_like(tokens)))
    found = json.loads(qsit("plan", run.path, "--json").stdout)
    assert found["sizes"] == FIRST
    assert found["gpus"] == 2
    assert found["steps_per_epoch"] == -(-FIRST.total // BATCH)
    assert any("mixture.json" in text for text in found["assumptions"])
    assert found["tokens_per_row"] == {"scoring": 100, "interpreting": 4_800, "general": 333}
    per_row = found["tokens_per_row"]
    assert found["tokens_per_epoch"] == sum(n * per_row[d] for d, n in FIRST.items())


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epochs_rows_are_the_plans(run, tmp_path, epoch):
    out = tmp_path / "rows.parquet"
    written = json.loads(qsit("plan", run.path, "--epoch", epoch, "--out", out, "--json").stdout)
    line = artifacts.read_jsonl(run.epochs)[0]
    mixture = Mixture(line["next_sizes"]) if epoch else FIRST
    plan = plan_epoch(mixture, SIZES, epoch, 5, BATCH)
    table = pq.read_table(out)
    assert written["plan_sha256"] == plan.sha256
    assert table["row"].to_numpy().tolist() == plan.rows.tolist()
    order = BATCH * table["step"].to_numpy() + table["position"].to_numpy()
    assert order.tolist() == list(range(mixture.total))
    domains = np.array(table["domain"].to_pylist())
    assert {d: int((domains == d).sum()) for d in SIZES} == mixture
    assert set(table["row"].to_numpy()[domains == "interpreting"]) <= set(range(40, 130))


@pytest.mark.parametrize(
    ("epoch", "message"), [(2, "not decided yet: 1 of 2"), (3, "the run has epochs 0 to 2")]
)
def test_an_epoch_that_is_not_decided_is_refused(run, tmp_path, epoch, message):
    done = qsit("plan", run.path, "--epoch", epoch, "--out", tmp_path / "rows.parquet")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "rows.parquet").exists()


def test_a_changed_catalog_is_reported(run, tmp_path):
    writing.write_counts(run.catalog, {**SIZES, "scoring": 39})
    done = qsit("plan", run.path, "--epoch", 0, "--out", tmp_path / "rows.parquet")
    assert done.returncode == 2
    assert "the catalog has changed since" in done.stderr


def test_show_prints_the_epochs_and_the_time_waited_for_data(run):
    found = json.loads(qsit("show", run.path, "--json").stdout)
    assert found == {"epochs": artifacts.read_jsonl(run.epochs), "stall_fraction": 0.25}
    run.epochs.unlink()
    assert json.loads(qsit("show", run.path, "--json").stdout) == {
        "epochs": [],
        "stall_fraction": None,
    }
