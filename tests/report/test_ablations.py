"""What arms measured, from the files of their runs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pages import read_section
from qsit_pools import losses, ratios

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.controller import Decision
from qsit_ray.evaluation.intervals import Bootstrap
from qsit_ray.evaluation.studies import ablation
from qsit_ray.mixture import Mixture
from qsit_ray.report import ablations, page
from qsit_ray.run_files import EpochLine, FoundMix

REFERENCE = {0: 0.25, 1: 0.2}
SIZES = Mixture.of(10, 20, 10)


def line(number, ratio):
    decision = Decision(number, SIZES, losses(ratio, 1.0), ratio, "hold", SIZES)
    shared = {name: getattr(decision, name) for name in ("sizes", "verdict", "next_sizes")}
    counts = dict.fromkeys(("consumed", "planned", "rows_skipped", "answers_cut"), 0)
    return EpochLine(
        epoch=number,
        losses=losses(ratio, 1.0),
        loss_ratio=ratio,
        reference_loss_ratio=None,
        srcc=None,
        accuracy=None,
        plan_sha256="",
        rows_planned=40,
        rows_trained=40,
        timing={},
        **shared,
        **counts,
    )


def repeat(folder, ratios, noise, right):
    """A run whose scores are the truth with noise, and of whose answers a share is right."""
    run = RunFolder(folder)
    artifacts.write_jsonl(run.epochs, [line(n, ratio).to_json() for n, ratio in enumerate(ratios)])
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, 40)
    rows = [
        {
            "model": model,
            "benchmark": "iqa",
            "id": str(number),
            "dataset": None,
            "photograph": f"photograph {number % 4}",
            "truth": mos,
            "rank_key": mos + noise * rng.normal() if model == "primary" else 0.0,
        }
        for model in ("primary", "proxy")
        for number, mos in enumerate(truth)
    ]
    rows += [
        {
            "model": "primary",
            "benchmark": "llvisionqa",
            "photograph": f"photograph {number % 4}",
            "correct_ans": "yes",
            "reply": "yes" if number < 40 * right else "no",
        }
        for number in range(40)
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    run.evaluation.mkdir()
    pq.write_table(table, run.evaluation / "predictions.parquet")
    return folder


@pytest.fixture
def found(tmp_path):
    planted = {
        ("method", 0): ([0.5, 0.25], 0.1, 0.75),
        ("other", 0): ([0.5, 0.5], 3.0, 0.5),
        ("method", 1): ([0.3, 0.2], 0.1, 0.75),
        ("other", 1): ([0.3, 0.1], 3.0, 0.5),
    }
    folders = {
        (name, seed): repeat(tmp_path / f"{name}-{seed}", *values)
        for (name, seed), values in planted.items()
    }
    proxies = {seed: tmp_path / f"seed-{seed}" for seed in REFERENCE}
    for seed, folder in proxies.items():
        mix = FoundMix(ratios(1.0, 2.0, 1.0), REFERENCE[seed], "answer", SIZES)
        artifacts.write_json(RunFolder(folder).mixture, mix.to_json())
    return ablations.measured(folders, proxies, "method", "best", Bootstrap())


def test_ratios_are_over_the_reference_of_their_seed(found):
    method, other = found
    assert method.ratios == [[2.0, 1.0], [pytest.approx(1.5), pytest.approx(1.0)]]
    assert method.distance == pytest.approx(0)
    # Half of λ is as far from it as twice λ.
    assert [ratios[-1] for ratios in other.ratios] == [2.0, 0.5]
    assert other.distance == pytest.approx(1.0)
    assert method.rows == other.rows == [80, 80]


def test_arms_are_compared_with_the_method_on_test_data(found):
    method, other = found
    assert (method.srcc.difference, method.accuracy.difference) == (0.0, 0.0)
    assert (method.accuracy.a, other.accuracy.a) == (0.75, 0.5)
    assert other.accuracy.difference == -0.25
    assert method.srcc.a > 0.9
    assert other.srcc.interval[1] < 0


def test_results_come_back_from_their_file(found, tmp_path):
    path = tmp_path / "results.json"
    ablations.write(path, found)
    assert ablations.read(path) == found
    assert all(len(ablations.cells(each)) == len(ablations.COLUMNS) for each in found)


def test_a_study_writes_the_table_and_the_plot(found, tmp_path):
    ablations.write(tmp_path / "run" / "ablations" / "controller" / ablations.RESULTS, found)
    document = tmp_path / "page.md"
    document.write_text(
        "Before\n<!-- controller: begin -->\nold\n<!-- controller: end -->\nAfter\n"
    )
    ablation.write(tmp_path / "run", document, "qsit ablate --out RUN")
    text = read_section(document, "controller")
    assert "`qsit ablate --out RUN --study controller`" in text
    assert "| method | 1.00, 1.00 | 0% |" in text
    assert "| other | 2.00, 0.50 | 100% |" in text
    assert "<svg" in (tmp_path / "controller_measured.svg").read_text()


def test_the_report_shows_the_arms(found, tmp_path):
    run = RunFolder(tmp_path / "run")
    ablations.write(run.path / "ablations" / "controller" / ablations.RESULTS, found)
    text = page.build(run, presets.demo()).read_text()
    assert "<h3>Controller</h3>" in text
    assert "<th>other</th>" in text
