"""pure: published figures and ours, from published labels and raw model outputs alone.

Writes the section `figures` of docs/REPRODUCTION.md. Figures that are not reproduced are in it too,
with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import ArrayLike

from qsit_ray.errors import InputError
from qsit_ray.evaluation import llvisionqa
from qsit_ray.evaluation.correlation import plcc, srcc
from qsit_ray.evaluation.studies.sections import Page, table, write_section
from qsit_ray.levels import (
    LEVELS,
    Range,
    expected_score,
    level_numbers,
    mos_to_levels,
    two_level_margin,
    two_level_score,
)
from qsit_ray.reading import read_values

LABELS = "Released levels and opinion scores"
TABLE_II = "Table II: levels against MOS"
TABLE_III = "Table III: the databases' MOS"
EQUATION_5 = "Eq. 5 from stored logits, against the stored score"
LLVISIONQA = "LLVisionQA"

# Published SRCC and PLCC of Table II, the largest difference allowed, and the reason for one.
NOT_REPORTED = "the paper's rule or rows are not reported"
SAMPLED = {
    "KADID-10k": ("kadid", (0.979, 0.982), 0.005, "2,000 of the 10,125 images"),
    "LIVEC": ("livec", (0.933, 0.930), 5e-4, NOT_REPORTED),
    "AGIQA-3K": ("agi", (0.942, 0.955), 5e-4, NOT_REPORTED),
}


@dataclass(frozen=True)
class Row:
    """One figure: published (None where nothing is), ours, and the largest difference allowed.

    `why` explains a figure that is not reproduced, or one without a published counterpart.
    """

    section: str
    figure: str
    published: float | None
    ours: float
    tolerance: float
    digits: int = 4
    why: str = ""

    @property
    def reproduced(self) -> bool | None:
        """Within the tolerance; None without a published figure."""
        if self.published is None:
            return None
        return bool(abs(self.ours - self.published) <= self.tolerance * (1 + 1e-9))

    @property
    def verdict(self) -> str:
        words = {True: "reproduced", False: "not reproducible", None: "no published figure"}
        return words[self.reproduced] + (f": {self.why}" if self.why else "")

    @property
    def cells(self) -> list[str]:
        published, tolerance = "", ""
        if self.published is not None:
            published, tolerance = f"{self.published:.{self.digits}f}", f"{self.tolerance:g}"
        return [self.figure, published, f"{self.ours:.{self.digits}f}", tolerance, self.verdict]


def rows(data: Path) -> list[Row]:
    """Every row of the page, from the shared data. Raises InputError naming an absent file."""
    return [*_databases(data), *_qbench(data), *_equation_5(data), *_llvisionqa(data)]


def parts(found: list[Row]) -> list[str]:
    """The page's section: counts, and one table per section of the rows."""
    counts = [sum(row.reproduced is kind for row in found) for kind in (True, False, None)]
    text = [
        f"{counts[0]} figures reproduced, {counts[1]} not reproducible, {counts[2]} without a "
        "published figure. A figure is reproduced if it is within the tolerance."
    ]
    columns = ["figure", "published", "ours", "tolerance", "verdict"]
    for section in dict.fromkeys(row.section for row in found):
        text.append(f"## {section}")
        text.append(table(columns, [row.cells for row in found if row.section == section]))
    return text


def _databases(data: Path) -> Iterator[Row]:
    train = _frame(data, "qsit_train_labels_koniq.parquet")
    every = _frame(data, "mos_koniq_spaq.parquet")
    koniq, spaq = every[every.dataset == "koniq"], every[every.dataset == "spaq"]
    labelled = spaq[spaq.qsit_level.notna()]
    for name, mos, words, plain_range, table_ii, whole, table_iii in (
        ("KonIQ", train.mos, train.level, 74, (0.9517, 0.9606), koniq.mos, (58.73, 15.43)),
        (
            "SPAQ",
            labelled.mos,
            labelled.qsit_level,
            377,
            (0.9690, 0.9681),
            spaq.mos,
            (50.32, 20.90),
        ),
    ):
        levels = level_numbers(words.tolist())
        for scale, published, why in (
            (f"{name.lower()}-release", 0, ""),
            ("dataset", plain_range, "not the release's rule"),
        ):
            wrong = int(np.sum(mos_to_levels(mos, Range.parse(scale)).levels != levels))
            figure = (
                f"{name}, {len(mos):,} rows, range {scale}: levels that differ from the release"
            )
            yield Row(LABELS, figure, published, wrong, 0, 0, why)
        yield from _correlations(f"{name}, training rows", mos, levels, table_ii)
        mean, deviation = table_iii
        yield Row(TABLE_III, f"{name}, {len(whole):,} rows: mean", mean, whole.mean(), 0.005, 2)
        yield Row(TABLE_III, f"{name}: standard deviation", deviation, whole.std(), 0.005, 2)

    from_histogram = sum(i * koniq[f"c{i}"].to_numpy() for i in range(1, 6))
    truth = _frame(data, "qbench_logits_koniq.parquet").set_index("image").gt_score
    apart = np.abs(from_histogram - truth.loc[koniq.image].to_numpy()).max()
    figure = f"KonIQ, {len(koniq):,} rating histograms to 1-5 MOS: largest distance from Q-Bench's"
    yield Row(LABELS, figure, 0, float(apart), 0.005)

    sample = _frame(data, "lmm_level_logits_sample.parquet").drop_duplicates(["dataset", "image"])
    for name, (key, table_ii, tolerance, why) in SAMPLED.items():
        mos = sample[sample.dataset == key].gt_mos
        levels = mos_to_levels(mos, Range.parse("dataset")).levels
        title = f"{name}, {len(mos):,} rows, Eq. 1"
        yield from _correlations(title, mos, levels, table_ii, tolerance, why)


def _correlations(
    title: str,
    mos: ArrayLike,
    levels: ArrayLike,
    published: tuple[float, float],
    tolerance: float = 5e-4,
    why: str = "",
) -> Iterator[Row]:
    """SRCC and PLCC of levels with MOS."""
    digits = 3 if why else 4
    for name, metric, paper in (("SRCC", srcc, published[0]), ("PLCC", plcc, published[1])):
        figure = f"{title}: {name}"
        yield Row(TABLE_II, figure, paper, metric(mos, levels), tolerance, digits, why)


def _qbench(data: Path) -> Iterator[Row]:
    expected = _frame(data, "qbench_expected_koniq_livec.csv")
    outputs = {key: _frame(data, f"qbench_logits_{key}.parquet") for key in ("koniq", "livec")}
    for row in expected.sort_values("dataset", kind="stable").itertuples():
        section = f"Q-Bench A3 on {'KonIQ' if row.dataset == 'koniq' else 'LIVEC'}, from raw logits"
        stored = outputs[row.dataset]
        good, poor = (
            stored[f"{row.model}__{key.removeprefix('logit_')}"].to_numpy(np.float64)
            for key in (row.good_key, row.poor_key)
        )
        truth = stored.gt_score.to_numpy()
        rank = srcc(truth, two_level_margin(good, poor))
        warm = plcc(truth, two_level_score(good, poor, 100))
        cold = plcc(truth, two_level_score(good, poor, 1))
        for figure, published, ours, tolerance, digits in (
            ("SRCC on the margin", row.srcc_margin_exact_ties, rank, 5e-4, 4),
            ("SRCC as published (its ties go by rounding)", row.notebook_srcc, rank, 0.003, 3),
            ("PLCC, temperature 100", row.plcc_T100, warm, 5e-4, 4),
            ("PLCC as published", row.notebook_plcc, warm, 0.001, 3),
            ("PLCC, temperature 1", row.plcc_T1, cold, 5e-4, 4),
        ):
            yield Row(section, f"{row.model}: {figure}", published, ours, tolerance, digits)


def _equation_5(data: Path) -> Iterator[Row]:
    sample = _frame(data, "lmm_level_logits_sample.parquet")
    score = expected_score(sample[list(LEVELS)].to_numpy())
    for run, apart in (sample.pred_mos - score).abs().groupby(sample.run.astype(str)):
        figure = f"{run}, {len(apart):,} rows: largest distance"
        yield Row(EQUATION_5, figure, 0, float(apart.max()), 0.03)


def _llvisionqa(data: Path) -> Iterator[Row]:
    dev, test = (read_values(data / f"llvisionqa_{split}.json.gz") for split in ("dev", "test"))
    for split, questions, published in (("dev", dev, 0.3780), ("test", test, 0.3794)):
        guess = llvisionqa.random_guess(questions) or 0.0
        yield Row(LLVISIONQA, f"{split}: random guess", published, guess, 5e-5)
    answers = read_values(data / "llvisionqa_dev_model_answers.json.gz")["answers"]
    for run, replies in answers.items():
        for rule in llvisionqa.RULES:
            result = llvisionqa.grade_replies(dev, replies, rule=rule)
            why = f"{result.missing} missing, {result.unparsable} unparsable"
            figure = f"dev, {run}: accuracy by the {rule} rule"
            yield Row(LLVISIONQA, figure, None, result.accuracy or 0.0, 0, 4, why)


def _frame(data: Path, name: str) -> Any:  # a DataFrame; the types of its columns are the files'
    path = data / name
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None


def write(
    shared_data: Annotated[Path, typer.Argument(help="The folder of shared labels and outputs.")],
    out: Page,
) -> None:
    """Published figures and ours."""
    write_section(out, "figures", *parts(rows(shared_data)))
