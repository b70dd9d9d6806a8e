"""pure: published figures beside ours, from published labels and raw model outputs alone.

`python -m evaluation.studies.reproduction SHARED_DATA --out docs/REPRODUCTION.md` computes every row. What
can't be reproduced stands there too, with the reason.
"""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from evaluation import iqa, llvisionqa
from qsit_ray.artifacts import write_text
from qsit_ray.errors import InputError
from qsit_ray.levels import (
    LEVELS,
    Range,
    expected_score,
    level_numbers,
    mos_to_levels,
    two_level_margin,
    two_level_score,
)


@dataclass(frozen=True)
class Row:
    """One figure: as published (None where nothing is), as found here, and how far they may lie
    apart. `why` explains a figure that is not reproduced, or one that has no published twin."""

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
        told = {True: "reproduced", False: "not reproducible", None: "no published figure"}
        return told[self.reproduced] + (f": {self.why}" if self.why else "")


def rows(data: Path) -> list[Row]:
    """Every row of the page, from the shared data. Raises InputError naming a file not there."""
    return [
        *_labels(data),
        *_table_ii(data),
        *_table_iii(data),
        *_qbench(data),
        *_equation_5(data),
        *_llvisionqa(data),
    ]


def page(found: list[Row]) -> str:
    """The rows as Markdown, a table a section."""
    counts = [sum(row.reproduced is kind for row in found) for kind in (True, False, None)]
    lines = [
        "# Reproduction",
        "",
        "Published figures beside ours, from public labels and raw model outputs; no model runs.",
        "A figure on the margin or at temperature 1 stands beside a stored check value.",
        "Made by `python -m evaluation.studies.reproduction SHARED_DATA --out docs/REPRODUCTION.md`.",
        "",
        f"{counts[0]} figures reproduced, {counts[1]} not reproducible, {counts[2]} without a "
        "published figure. A figure is reproduced if it lies within the tolerance.",
    ]
    section = ""
    for row in found:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", ""]
            lines += ["| figure | published | ours | tolerance | verdict |"]
            lines += ["|---|---|---|---|---|"]
        published = "" if row.published is None else f"{row.published:.{row.digits}f}"
        tolerance = "" if row.published is None else f"{row.tolerance:g}"
        ours = f"{row.ours:.{row.digits}f}"
        lines.append(f"| {row.figure} | {published} | {ours} | {tolerance} | {row.verdict} |")
    return "\n".join(lines) + "\n"


def _labels(data: Path) -> list[Row]:
    section = "Released levels and opinion scores"
    found = []
    train = _frame(data, "qsit_train_labels_koniq.parquet")
    every = _frame(data, "mos_koniq_spaq.parquet")
    spaq = every[(every.dataset == "spaq") & every.qsit_level.notna()]
    for name, mos, words in (
        ("KonIQ", train.mos, train.level),
        ("SPAQ", spaq.mos, spaq.qsit_level),
    ):
        released = level_numbers(words.tolist())
        for scale, published in (
            (f"{name.lower()}-release", 0),
            ("dataset", {"KonIQ": 74, "SPAQ": 377}[name]),
        ):
            conversion = mos_to_levels(mos, Range.parse(scale))
            wrong = int(np.sum(conversion.levels != released))
            what = f"{name}, {len(mos):,} rows, range {scale}: levels that differ from the release"
            why = "Eq. 1 with the plain minimum and maximum is not the release's rule"
            found.append(
                Row(section, what, published, wrong, 0, 0, why if scale == "dataset" else "")
            )
    koniq = every[every.dataset == "koniq"]
    from_histogram = sum(i * koniq[f"c{i}"].to_numpy() for i in range(1, 6))
    truth = _frame(data, "qbench_logits_koniq.parquet").set_index("image").gt_score
    apart = np.abs(from_histogram - truth.loc[koniq.image].to_numpy()).max()
    what = f"KonIQ, {len(koniq):,} rating histograms to 1-5 MOS: largest distance from Q-Bench's"
    return [*found, Row(section, what, 0, float(apart), 0.005)]


def _table_ii(data: Path) -> list[Row]:
    section = "Table II: levels against MOS"
    found = []

    def pair(name: str, mos: Any, numbers: Any, published: Any, tolerance: float, why: str) -> None:
        values = (iqa.srcc(mos, numbers), iqa.plcc(mos, numbers))
        for metric, ours, paper in zip(("SRCC", "PLCC"), values, published, strict=True):
            digits = 3 if why else 4
            found.append(Row(section, f"{name}: {metric}", paper, ours, tolerance, digits, why))

    train = _frame(data, "qsit_train_labels_koniq.parquet")
    every = _frame(data, "mos_koniq_spaq.parquet")
    spaq = every[(every.dataset == "spaq") & every.qsit_level.notna()]
    pair("KonIQ, training rows", train.mos, level_numbers(train.level), (0.9517, 0.9606), 5e-4, "")
    pair(
        "SPAQ, training rows", spaq.mos, level_numbers(spaq.qsit_level), (0.9690, 0.9681), 5e-4, ""
    )
    sample = _frame(data, "lmm_level_logits_sample.parquet").drop_duplicates(["dataset", "image"])
    for name, key, published, tolerance, why in (
        ("KADID-10k", "kadid", (0.979, 0.982), 0.005, "2,000 of the 10,125 images are at hand"),
        ("LIVEC", "livec", (0.933, 0.930), 5e-4, _NO_RULE),
        ("AGIQA-3K", "agi", (0.942, 0.955), 5e-4, _NO_RULE),
    ):
        mos = sample[sample.dataset == key].gt_mos
        levels = mos_to_levels(mos, Range.parse("dataset")).levels
        pair(f"{name}, {len(mos):,} rows, Eq. 1", mos, levels, published, tolerance, why)
    return found


_NO_RULE = (
    "Eq. 1 on these MOS agrees with them more closely than the paper prints; the rule or the rows "
    "behind the printed figure are not told"
)


def _table_iii(data: Path) -> list[Row]:
    section = "Table III: the databases' MOS"
    every = _frame(data, "mos_koniq_spaq.parquet")
    found = []
    for name, mean, deviation in (("KonIQ", 58.73, 15.43), ("SPAQ", 50.32, 20.90)):
        mos = every[every.dataset == name.lower()].mos
        found.append(Row(section, f"{name}, {len(mos):,} rows: mean", mean, mos.mean(), 0.005, 2))
        found.append(Row(section, f"{name}: standard deviation", deviation, mos.std(), 0.005, 2))
    return found


def _qbench(data: Path) -> list[Row]:
    expected = _frame(data, "qbench_expected_koniq_livec.csv")
    found = []
    for row in expected.itertuples():
        section = f"Q-Bench A3 on {'KonIQ' if row.dataset == 'koniq' else 'LIVEC'}, from raw logits"
        table = _frame(data, f"qbench_logits_{row.dataset}.parquet")
        good, poor = (
            table[f"{row.model}__{key.removeprefix('logit_')}"].to_numpy(np.float64)
            for key in (row.good_key, row.poor_key)
        )
        truth = table.gt_score.to_numpy()
        rank = iqa.srcc(truth, two_level_margin(good, poor))
        warm = iqa.plcc(truth, two_level_score(good, poor, 100))
        cold = iqa.plcc(truth, two_level_score(good, poor, 1))
        for figure, published, ours, tolerance, digits in (
            ("SRCC on the margin", row.srcc_margin_exact_ties, rank, 5e-4, 4),
            ("SRCC as published (its ties go by rounding)", row.notebook_srcc, rank, 0.003, 3),
            ("PLCC, temperature 100", row.plcc_T100, warm, 5e-4, 4),
            ("PLCC as published", row.notebook_plcc, warm, 0.001, 3),
            ("PLCC, temperature 1", row.plcc_T1, cold, 5e-4, 4),
        ):
            found.append(Row(section, f"{row.model}: {figure}", published, ours, tolerance, digits))
    return sorted(found, key=lambda row: row.section)


def _equation_5(data: Path) -> list[Row]:
    section = "Eq. 5 from stored logits, against the stored score"
    sample = _frame(data, "lmm_level_logits_sample.parquet")
    score = expected_score(sample[list(LEVELS)].to_numpy())
    apart = (sample.pred_mos - score).abs().groupby(sample.run.astype(str)).max()
    rows_of = sample.groupby(sample.run.astype(str)).size()
    return [
        Row(section, f"{run}, {rows_of[run]:,} rows: largest distance", 0, float(d), 0.03)
        for run, d in apart.items()
    ]


def _llvisionqa(data: Path) -> list[Row]:
    section = "LLVisionQA"
    found = []
    questions = {}
    for split, published in (("dev", 0.3780), ("test", 0.3794)):
        questions[split] = _json(data, f"llvisionqa_{split}.json.gz")
        ours = llvisionqa.random_guess(questions[split]) or 0.0
        found.append(Row(section, f"{split}: random guess", published, ours, 5e-5))
    runs = _json(data, "llvisionqa_dev_model_answers.json.gz")
    for run, replies in runs["answers"].items():
        for rule in ("default", "official"):
            result = llvisionqa.evaluate(questions["dev"], replies, rule=rule)
            why = (
                f"{result['missing']} missing, {result['unparsable']} unparsable, counted as wrong"
            )
            figure = f"dev, {run}: accuracy by the {rule} rule"
            found.append(Row(section, figure, None, result["accuracy"], 0, 4, why))
    return found


def _frame(data: Path, name: str) -> Any:
    import pandas as pd

    path = data / name
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None


def _json(data: Path, name: str) -> Any:
    path = data / name
    try:
        return json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't read it: {error}") from None


def main(
    shared_data: Annotated[Path, typer.Argument(help="The folder of shared labels and outputs.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """Write the page of published figures beside ours."""
    try:
        found = rows(shared_data)
        write_text(out, page(found))
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{out}: {len(found)} figures")


if __name__ == "__main__":
    typer.run(main)
