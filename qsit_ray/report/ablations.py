"""pure: what the repeats of an ablation measured, and the comparison of its arms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.files import validated
from qsit_ray.controller import Reference, reference_after
from qsit_ray.evaluation import correlation
from qsit_ray.evaluation.intervals import Bootstrap, Difference
from qsit_ray.evaluation.repeats import Metric, Repeat, difference, share_right
from qsit_ray.run_files import EpochLine, FoundMix, ReferenceKind, read_epochs

RESULTS = "results.json"


@dataclass(frozen=True)
class ArmResult:
    """An arm over its seeds. `ratios`: L_S/L_I over λ of each seed after each epoch, `rows`: those
    trained by each seed, `srcc` (mean over test sets) and `accuracy` on test data: the arm's, the
    method's, and the difference, paired over photographs. λ is the one that the arm was held
    against, and of an arm without a controller the method's.
    """

    arm: str
    seeds: list[int]
    ratios: list[list[float]]
    rows: list[int]
    srcc: Difference
    accuracy: Difference

    @property
    def distance(self) -> float:
        """Mean over the seeds of the factor between the last ratio and λ, less 1."""
        return float(np.mean([math.exp(abs(math.log(each[-1]))) for each in self.ratios])) - 1


def measured(
    folders: Mapping[tuple[str, int], Path],
    proxies: Mapping[int, Path],
    against: str,
    kind: ReferenceKind,
    bootstrap: Bootstrap,
) -> list[ArmResult]:
    """Compare the arms whose repeats have ended, by (arm, seed), with the arm `against`.

    `proxies`: the run folder of each seed that has λ, of which `kind` is the method's. Raises
    InputError naming a file that can't be read.
    """
    found = []
    references = {
        seed: FoundMix.read(RunFolder(path).mixture).references(kind)
        for seed, path in proxies.items()
    }
    for arm in dict.fromkeys(name for name, _ in folders):
        seeds = [seed for name, seed in folders if name == arm]
        runs = {seed: RunFolder(folders[arm, seed]) for seed in seeds}
        epochs = {seed: read_epochs(run.epochs) for seed, run in runs.items()}

        def compared(
            read: Callable[[RunFolder], Repeat],
            metric: Metric,
            runs: Mapping[int, RunFolder] = runs,
        ) -> Difference:
            repeats = []
            for seed, run in runs.items():
                own, other = read(run), read(RunFolder(folders[against, seed]))
                repeats.append(replace(own, b=other.a))
            return difference(repeats, metric, bootstrap)

        found.append(
            ArmResult(
                arm,
                seeds,
                [
                    [
                        line.loss_ratio / _held_against(line, references[seed])
                        for line in epochs[seed]
                    ]
                    for seed in seeds
                ],
                [sum(line.rows_trained for line in epochs[seed]) for seed in seeds],
                compared(_scores, correlation.srcc),
                compared(_answers, share_right),
            )
        )
    return found


def _held_against(line: EpochLine, method: Sequence[Reference]) -> float:
    if line.reference_loss_ratio is not None:
        return line.reference_loss_ratio
    reference = reference_after(method, line.epoch)
    return math.nan if reference is None else reference.loss_ratio


def _scores(run: RunFolder) -> Repeat:
    """The images of all test sets, with the values that rank them."""
    rows = _predictions(run, "iqa")
    truth, keys = (np.array([row[name] for row in rows]) for name in ("truth", "rank_key"))
    datasets = np.array([row["dataset"] or "" for row in rows])
    photographs = np.array([f"{row['dataset']}/{row['photograph']}" for row in rows])
    return Repeat(truth, keys, keys, photographs, datasets)


def _answers(run: RunFolder) -> Repeat:
    """1 for each question, and 1 where it was answered right."""
    rows = _predictions(run, "llvisionqa")
    right = np.array([float(row["reply"] == row["correct_ans"]) for row in rows])
    photographs = np.array([str(row["photograph"]) for row in rows])
    return Repeat(np.ones(len(rows)), right, right, photographs)


def _predictions(run: RunFolder, benchmark: str) -> list[dict[str, Any]]:
    """The primary's rows, in the order of the benchmark, which all repeats of a seed share."""
    chosen = [("model", "=", "primary"), ("benchmark", "=", benchmark)]
    table = pq.read_table(run.evaluation / "predictions.parquet", filters=chosen)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def write(path: Path, results: Sequence[ArmResult]) -> None:
    artifacts.write_json(path, [asdict(result) for result in results])


def read(path: Path) -> list[ArmResult]:
    """Raises InputError naming a file that can't be read."""
    return [validated(ArmResult, each, str(path)) for each in artifacts.read_json(path)]


COLUMNS = (
    *("arm", "ratio over λ, last epoch", "distance", "rows, thousands"),
    *("SRCC", "accuracy", "SRCC, less the method's", "accuracy, less the method's"),
)


def cells(result: ArmResult) -> list[str]:
    """The arm's row under `COLUMNS`."""
    last = ", ".join(f"{ratios[-1]:.2f}" for ratios in result.ratios)
    rows = ", ".join(f"{rows / 1000:.1f}" for rows in result.rows)
    return [
        *(result.arm, last, f"{result.distance:.0%}", rows),
        *(_value(result.srcc.a), _value(result.accuracy.a)),
        *(_apart(result.srcc), _apart(result.accuracy)),
    ]


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _apart(found: Difference) -> str:
    if found.difference is None:
        return "–"
    if found.interval is None:
        return f"{found.difference:+.3f}"
    low, high = found.interval
    return f"{found.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
