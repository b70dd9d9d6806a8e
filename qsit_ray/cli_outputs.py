"""pure: the verbs that read other people's files: data levels; evaluate iqa, llvisionqa, compare.

Each prints one JSON object with --json, and a table without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from qsit_ray.errors import InputError


class Boundary(StrEnum):
    right = "right"
    left = "left"


class Rule(StrEnum):
    default = "default"
    official = "official"


class Task(StrEnum):
    iqa = "iqa"
    llvisionqa = "llvisionqa"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]
Confidence = Annotated[float, typer.Option(help="Confidence of the intervals.")]
Logits = Annotated[
    str | None, typer.Option(help="WORD=COLUMN,...: level logits from the worst to the best.")
]
TwoLevel = Annotated[str | None, typer.Option(help="good=COLUMN,poor=COLUMN: Q-Bench's rule.")]
Temperature = Annotated[
    float | None, typer.Option(help="Of --two-level; 100 as in Q-Bench if not given.")
]
Replies = Annotated[Rule, typer.Option(help="How replies are matched to candidates.")]

FIGURES = ("srcc", "plcc", "plcc_logistic", "krcc", "rmse")


def register(data: typer.Typer, evaluate: typer.Typer) -> None:
    """Add the four verbs to the command groups `data` and `evaluate`."""
    data.command("levels")(levels)
    evaluate.command("iqa")(iqa)
    evaluate.command("llvisionqa")(llvisionqa)
    evaluate.command("compare")(compare)


def levels(
    table: Annotated[Path, typer.Argument(metavar="IN", help="csv, tsv, jsonl, json, parquet.")],
    id_: Annotated[str, typer.Option("--id", help="Column of ids.")],
    mos: Annotated[str, typer.Option(help="Column of mean opinion scores.")],
    range_: Annotated[
        str,
        typer.Option(
            "--range",
            help="dataset, trimmed:FRACTION, explicit:LOW:HIGH, koniq-release or spaq-release.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where id, mos, level go: .csv, .jsonl or .parquet.")],
    boundary: Annotated[
        Boundary | None,
        typer.Option(help="right: (a, b], left: [a, b). A released range has its own side."),
    ] = None,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """Convert MOS to level words, and tell what the conversion keeps of them (Table II)."""
    from evaluation import outputs
    from qsit_ray import tables

    tables.check_output(out)
    if out.exists() and table.exists() and out.samefile(table):
        raise InputError(f"{out}: --out is the table that is read")
    result, columns = outputs.levels(
        table,
        id_column=id_,
        mos_column=mos,
        range_text=range_,
        boundary=boundary.value if boundary else None,
        seed=seed,
        confidence=confidence,
    )
    tables.write(out, columns)
    if as_json:
        return _print_json(result | {"out": str(out)})
    shown = ("rows", "written", "rejected", "clipped", "low", "high", "boundary", "srcc", "plcc")
    _print_table(f"{table} to {out}", ("figure", "value"), [(name, result[name]) for name in shown])
    _print_table("Levels", ("level", "rows"), list(result["counts"].items()))
    _print_reasons(result["reasons"])


def iqa(
    predictions: Annotated[Path, typer.Option(help="csv, tsv, jsonl, json, parquet.")],
    id_: Annotated[str, typer.Option("--id", help="Column of ids.")],
    truth: Annotated[str, typer.Option(help="Column of mean opinion scores.")],
    score: Annotated[str | None, typer.Option(help="Column of predicted scores.")] = None,
    logits: Logits = None,
    two_level: TwoLevel = None,
    temperature: Temperature = None,
    by: Annotated[str | None, typer.Option(help="Column of groups, such as the dataset.")] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Groups trained on, comma between: intra; others: cross.")
    ] = None,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """SRCC, PLCC, KRCC and RMSE of predictions, from scores or from level logits."""
    from evaluation import outputs

    result = outputs.score_iqa(
        predictions,
        _scoring(score, logits, two_level, temperature),
        id_column=id_,
        truth_column=truth,
        by=by,
        trained_on=_names(trained_on),
        seed=seed,
        confidence=confidence,
    )
    if as_json:
        return _print_json(result)
    blocks = {**result["groups"], "overall": result["overall"]}
    _print_table(
        f"{predictions}: ranked on {result['ranked_on']}",
        ("group", "rows", *(name.replace("_logistic", " log.") for name in FIGURES), "average"),
        [
            (
                f"{name} ({block['setting']})" if "setting" in block else name,
                *(block[key] for key in ("rows", *FIGURES, "average")),
            )
            for name, block in blocks.items()
        ],
    )
    for name, block in blocks.items():
        _print_reasons(block["reasons"], f"{name}: ")


def llvisionqa(
    questions: Annotated[Path, typer.Option(help="LLVisionQA's questions: json, json.gz, jsonl.")],
    answers: Annotated[
        Path, typer.Option(help="JSON list in question order, or a table of img_path and answer.")
    ],
    rule: Replies = Rule.default,
    submission: Annotated[
        Path | None, typer.Option(help="Write the replies as one JSON list to send in.")
    ] = None,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """Accuracy of replies to LLVisionQA, by type and by concern (Table V)."""
    from evaluation import llvisionqa as benchmark
    from evaluation.replies import score_llvisionqa
    from qsit_ray.artifacts import write_json

    result, asked, texts = score_llvisionqa(
        questions, answers, rule=rule.value, seed=seed, confidence=confidence
    )
    if submission is not None:
        records = benchmark.submission(asked, texts)
        try:
            write_json(submission, records)
        except OSError as error:
            raise InputError(f"{submission}: can't write it: {error}") from None
        result["submission"] = str(submission)
    if as_json:
        return _print_json(result)
    rows = benchmark.table_v(asked, {answers.name: result})
    _print_table(f"{answers} ({rule} rule)", list(rows[0]), [tuple(r.values()) for r in rows])
    _print_reasons(result["reasons"])
    for what in ("missing", "unparsable", "unknown"):
        if result[what]:
            _say(f"{what}: {result[what]} of {result['rows']} (listed with --json)")


def compare(
    a: Annotated[Path, typer.Argument(help="A file of predictions or replies.")],
    b: Annotated[Path, typer.Argument(help="Another, for the same ids.")],
    task: Annotated[Task, typer.Option(help="What the files hold.")],
    id_: Annotated[str | None, typer.Option("--id", help="Column of ids.")] = None,
    truth: Annotated[str | None, typer.Option(help="iqa: column of MOS.")] = None,
    score: Annotated[str | None, typer.Option(help="iqa: column of predicted scores.")] = None,
    logits: Logits = None,
    two_level: TwoLevel = None,
    temperature: Temperature = None,
    questions: Annotated[Path | None, typer.Option(help="llvisionqa: the questions.")] = None,
    rule: Replies = Rule.default,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """Two models on the same ids, A - B, with a p-value and an interval."""
    if task is Task.iqa:
        from evaluation.outputs import compare_iqa

        if questions is not None:
            raise InputError("--questions belongs to --task llvisionqa")
        ways = (score, logits, two_level, temperature)
        result = compare_iqa(
            a,
            b,
            None if ways == (None,) * 4 else _scoring(*ways),
            id_column=id_,
            truth_column=truth,
            seed=seed,
            confidence=confidence,
        )
        metrics: Mapping[str, Mapping[str, Any]] = result["metrics"]
    else:
        from evaluation.replies import compare_llvisionqa

        if any(way is not None for way in (truth, score, logits, two_level, temperature)):
            raise InputError("--truth and scores belong to --task iqa")
        result = compare_llvisionqa(
            a,
            b,
            questions_path=questions,
            rule=rule.value,
            id_column=id_,
            seed=seed,
            confidence=confidence,
        )
        metrics = {"accuracy": result}
    result |= {"files": {"a": str(a), "b": str(b)}}
    if as_json:
        return _print_json(result)
    keys = ("a", "b", "difference", "interval", "p_value")
    _print_table(
        f"{a} - {b}, {result['rows']} rows",
        ("", *keys),
        [(name, *(found[key] for key in keys)) for name, found in metrics.items()],
    )
    _print_reasons({n: f["reason"] for n, f in metrics.items() if f.get("reason")})
    for side in ("a", "b"):
        if result[f"only_in_{side}_count"]:
            _say(f"only in {side.upper()}: {result[f'only_in_{side}_count']} (listed with --json)")


def _scoring(
    score: str | None, logits: str | None, two_level: str | None, temperature: float | None
) -> Any:
    from evaluation.outputs import Scoring, words

    return Scoring(
        score,
        None if logits is None else words(logits, "--logits"),
        None if two_level is None else words(two_level, "--two-level"),
        temperature,
    )


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _print_json(result: Mapping[str, Any]) -> None:
    print(json.dumps(result, allow_nan=False))


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console

    from qsit_ray.terminal import Terminal

    # A narrow terminal wraps a line; rich would cut digits off.
    console = Console(width=max(Console().width, 110))
    Terminal(console).table(title, columns, [tuple(map(_shown, row)) for row in rows])


def _print_reasons(reasons: Mapping[str, str], before: str = "") -> None:
    for name, why in reasons.items():
        _say(f"{before}{name} is undefined: {why}")


def _say(text: str) -> None:
    from qsit_ray.terminal import Terminal

    Terminal().say(text)


def _shown(value: Any) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.4f}"
    if isinstance(value, list):
        return " to ".join(map(_shown, value))
    return str(value)
