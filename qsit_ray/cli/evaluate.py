"""rim: the benchmark verbs: evaluate run, iqa, llvisionqa, compare and efficiency.

Each prints one JSON object with --json, and a table without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Confidence, Json, LowerBetter, Run, Seed
from qsit_ray.cli.printing import print_json, print_reasons, print_table, say
from qsit_ray.cli.working import working
from qsit_ray.errors import InputError
from qsit_ray.reading import TABLES
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.evaluation.efficiency import Efficiency
    from qsit_ray.evaluation.outputs import Scoring


Logits = Annotated[
    str | None, typer.Option(help="WORD=COLUMN,...: level logits from the worst to the best.")
]
TwoLevel = Annotated[str | None, typer.Option(help="good=COLUMN,poor=COLUMN: Q-Bench's rule.")]
Temperature = Annotated[
    float | None, typer.Option(help="Of --two-level; 100 as in Q-Bench by default.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Column of what rows share, such as a reference image; intervals draw these."
    ),
]
Rule = Annotated[
    Literal["default", "official"], typer.Option(help="Rule that matches replies to candidates.")
]


FEW_CLUSTERS = 20
"""Clusters below which intervals are too narrow: those of three cover 76 %, not 95 %."""
MANY = 0.02
"""Share of replies without a candidate, or of ids without a partner, above which it is said."""


def register(evaluate: typer.Typer) -> None:
    """Add the verbs to the command group `evaluate`."""
    evaluate.command("run")(run)
    for verb in (iqa, llvisionqa, compare, efficiency):
        evaluate.command(verb.__name__)(verb)


def run(run: Run) -> None:
    """Evaluate the primary, the untrained primary and the proxy on the test benchmarks."""
    from qsit_ray import pipeline, placement

    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal):
        # Here: a held run is refused at once.
        from qsit_ray.stages.evaluate import evaluate_models, models_of

        models_of(folder, config)  # what is missing is said before Ray is started
        with pipeline.ray_session(config, terminal, placement.prediction(config)):
            evaluate_models(folder, config, terminal)


def iqa(
    predictions: Annotated[Path, typer.Option(help=f"{TABLES}.")],
    id_: Annotated[str, typer.Option("--id", help="Column of ids.")],
    truth: Annotated[str, typer.Option(help="Column of mean opinion scores.")],
    score: Annotated[str | None, typer.Option(help="Column of predicted scores.")] = None,
    logits: Logits = None,
    two_level: TwoLevel = None,
    temperature: Temperature = None,
    by: Annotated[str | None, typer.Option(help="Column of groups, such as the dataset.")] = None,
    cluster: Cluster = None,
    where: Annotated[
        list[str], typer.Option(help="COL=VALUE: only the rows that have it; may be repeated.")
    ] = [],  # noqa: B006
    trained_on: Annotated[
        str | None, typer.Option(help="Groups trained on, comma between: intra; others: cross.")
    ] = None,
    lower_better: LowerBetter = False,
    votes: Annotated[
        str | None,
        typer.Option(help="Columns of people's votes, bad=COL,…,excellent=COL; with --logits."),
    ] = None,
    level_range: Annotated[
        str | None,
        typer.Option("--range", help="Of the truth's levels, as in `data levels`; with --logits."),
    ] = None,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """SRCC, PLCC, KRCC and RMSE of predictions, from scores or from level logits."""
    from qsit_ray.evaluation.intervals import Bootstrap
    from qsit_ray.evaluation.outputs import score_iqa, word_columns
    from qsit_ray.levels import Range

    result = score_iqa(
        predictions,
        _scoring(score, logits, two_level, temperature),
        id_column=id_,
        truth_column=truth,
        by=by,
        cluster_column=cluster,
        where=_conditions(where),
        level_range=None if level_range is None else Range.parse(level_range),
        trained_on=trained_on and [name.strip() for name in trained_on.split(",")],
        lower_better=lower_better,
        votes=word_columns(votes, "--votes"),
        bootstrap=Bootstrap(seed, confidence),
    )
    if as_json:
        return print_json(result.to_json())
    settings = {name: f"{name} ({setting})" for name, setting in result.settings.items()}
    rows = {**result.groups, "overall": result.overall}
    print_table(
        f"{predictions}: ranked on {result.predicted.ranked_on}",
        ("group", "rows", "srcc", "plcc", "plcc log.", "krcc", "rmse", "average"),
        [
            (settings.get(n, n), r.rows, r.srcc, r.plcc, r.plcc_logistic, r.krcc, r.rmse, r.average)
            for n, r in rows.items()
        ],
    )
    for name, r in rows.items():
        print_reasons(r.reasons, f"{name}: ")
    _say_few(result.clusters)
    if result.distribution is not None:
        names = ("kl", "js", "wasserstein", "std_error", "calibration_error")
        figures = [(name, getattr(result.distribution, name)) for name in names]
        print_table("Level probabilities against the votes", ("figure", "value"), figures)
    if result.levels is not None:
        figures = [(n, getattr(result.levels, n)) for n in ("accuracy", "confidence")]
        figures.append(("calibration_error", result.levels.calibration_error))
        print_table(
            "Most probable level against the level of the MOS", ("figure", "value"), figures
        )
        for what, count in (
            ("beyond the range, which have the end level", result.levels.clipped),
            ("without a level", result.levels.rejected),
        ):
            if count:
                say(f"{count:,} images {what}")


def llvisionqa(
    answers: Annotated[
        Path,
        typer.Option(
            help="JSON list in question order, a table of img_path and answer, or an output of "
            "lmms-eval or VLMEvalKit."
        ),
    ],
    questions: Annotated[
        Path | None,
        typer.Option(
            help="LLVisionQA's questions: json, json.gz, jsonl. Not for an output of lmms-eval or "
            "VLMEvalKit, which holds its own."
        ),
    ] = None,
    rule: Rule = "default",
    submission: Annotated[
        Path | None, typer.Option(help="Write the replies as one JSON list to send in.")
    ] = None,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """Accuracy of replies to LLVisionQA, by type and by concern (Table V)."""
    from qsit_ray.artifacts import write_json
    from qsit_ray.evaluation import llvisionqa as benchmark
    from qsit_ray.evaluation.intervals import Bootstrap
    from qsit_ray.evaluation.replies import score_llvisionqa

    bootstrap = Bootstrap(seed, confidence)
    scored = score_llvisionqa(questions, answers, rule=rule, bootstrap=bootstrap)
    content, result = scored.to_json(), scored.result
    if submission is not None:
        records = benchmark.submission(scored.questions, scored.replies.texts)
        try:
            write_json(submission, records)
        except OSError as error:
            raise InputError(f"{submission}: can't write it: {error}") from None
        content["submission"] = str(submission)
    if as_json:
        return print_json(content)
    rows = benchmark.table_v(scored.questions, {answers.name: result})
    cells = [(name, *row.values()) for name, row in rows.items()]
    print_table(f"{answers} ({rule} rule)", ("model", *rows[answers.name]), cells)
    print_reasons(scored.reasons)
    for name in ("missing", "unparsable", "unknown"):
        if content[name]:
            say(f"{name}: {content[name]} of {result.rows} (listed with --json)")
    if result.unparsable > MANY * result.rows and result.of_parsed is not None:
        say(
            f"WARNING: {result.unparsable / result.rows:.1%} of the replies name no candidate and "
            f"count as wrong; accuracy of the others is {result.of_parsed:.4f}"
        )


def compare(
    a: Annotated[Path, typer.Argument(help="A file of predictions or replies.")],
    b: Annotated[Path, typer.Argument(help="Another, for the same ids.")],
    task: Annotated[Literal["iqa", "llvisionqa"], typer.Option(help="What the files hold.")],
    id_: Annotated[str | None, typer.Option("--id", help="Column of ids.")] = None,
    truth: Annotated[str | None, typer.Option(help="iqa: column of MOS.")] = None,
    score: Annotated[str | None, typer.Option(help="iqa: column of predicted scores.")] = None,
    logits: Logits = None,
    two_level: TwoLevel = None,
    temperature: Temperature = None,
    questions: Annotated[Path | None, typer.Option(help="llvisionqa: the questions.")] = None,
    rule: Rule = "default",
    cluster: Cluster = None,
    as_json: Json = False,
    seed: Seed = 0,
    confidence: Confidence = 0.95,
) -> None:
    """Two models on the same ids, A - B, with a p-value and an interval."""
    from qsit_ray.evaluation.intervals import Bootstrap
    from qsit_ray.evaluation.outputs import compare_iqa
    from qsit_ray.evaluation.replies import compare_llvisionqa

    bootstrap = Bootstrap(seed, confidence)
    if task == "iqa":
        if questions is not None:
            raise InputError("--questions belongs to --task llvisionqa")
        source = (score, logits, two_level, temperature)
        result = compare_iqa(
            a,
            b,
            None if source == (None,) * 4 else _scoring(*source),
            id_column=id_,
            truth_column=truth,
            cluster_column=cluster,
            bootstrap=bootstrap,
        )
    else:
        given = (truth, score, logits, two_level, temperature, cluster)
        if any(option is not None for option in given):
            raise InputError("--truth, --cluster and scores belong to --task iqa")
        result = compare_llvisionqa(
            a, b, questions_path=questions, rule=rule, id_column=id_, bootstrap=bootstrap
        )
    if as_json:
        return print_json(result.content | {"files": {"a": str(a), "b": str(b)}})
    print_table(
        f"{a} - {b}, {result.rows} rows",
        ("", "a", "b", "difference", "interval", "p_value"),
        [(n, m.a, m.b, m.difference, m.interval, m.p_value) for n, m in result.metrics.items()],
    )
    print_reasons({name: m.reason for name, m in result.metrics.items() if m.reason})
    for side, only in (("A", result.ids.only_in_a), ("B", result.ids.only_in_b)):
        if only:
            say(f"only in {side}: {len(only)} (listed with --json)")
    ids = result.rows + max(len(result.ids.only_in_a), len(result.ids.only_in_b))
    if result.rows < (1 - MANY) * ids:
        say(f"WARNING: only {result.rows:,} of {ids:,} ids are in both files and compared")
    _say_few(result.clusters)


def _conditions(where: list[str]) -> dict[str, str]:
    found = {}
    for each in where:
        column, equals, value = (part.strip() for part in each.partition("="))
        if not (column and equals):
            raise InputError(f"--where {each!r} must be COL=VALUE")
        found[column] = value
    return found


def _say_few(clusters: int | None) -> None:
    if clusters is not None and clusters < FEW_CLUSTERS:
        say(f"WARNING: {clusters} clusters are few: intervals are narrower than they should be")


def _scoring(
    score: str | None, logits: str | None, two_level: str | None, temperature: float | None
) -> Scoring:
    from qsit_ray.evaluation.outputs import Scoring, word_columns

    words = word_columns(logits, "--logits"), word_columns(two_level, "--two-level")
    return Scoring(score, *words, temperature)


def efficiency(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint's folder or Hub name; or 0.5b or 7b: LLaVA-OneVision of that size "
            "without weights, FLOPs and parameters only."
        ),
    ],
    image: Annotated[
        Path | None, typer.Option(help="The image; noise of 768 x 1024 pixels by default.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="paper or official; by default the model's own, or paper.")
    ] = None,
    answer_tokens: Annotated[int, typer.Option(help="Tokens generated in answering.")] = 32,
    repeats: Annotated[
        int | None, typer.Option(help="Timed runs, after two others; 10 by default.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Cost of scoring and answering: latency, peak memory, FLOPs, parameters."""
    from qsit_ray.data import images
    from qsit_ray.models import profiles
    from qsit_ray.prompts import PAPER

    asked = None if profile is None else profiles.named(profile)
    if image is not None and not image.is_file():
        raise InputError(f"{image}: image file is missing")

    import torch

    from qsit_ray.evaluation import efficiency as benchmark
    from qsit_ray.models.architectures import TEXT_MODELS

    if model in TEXT_MODELS:
        if not repeats is device is None:
            raise InputError(f"{model} has no weights and is not timed: no --repeats or --device")
        size = benchmark.KONIQ_SIZE if image is None else images.check(image)
        result = benchmark.measure_architecture(model, asked or PAPER, size, answer_tokens)
    else:
        from qsit_ray.models.load import load

        there = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
        if device not in (None, *there):
            allowed = "cpu or cuda" if "cuda" in there else "cpu; no CUDA device is here"
            raise InputError(f"device {device!r}: it must be {allowed}")
        checkpoint = load(model, dtype="auto")
        checkpoint.model.to(device or there[0])
        result = benchmark.measure(
            checkpoint,
            asked or profiles.chosen(None, model),
            image,
            answer_tokens=answer_tokens,
            repeats=10 if repeats is None else repeats,
        )
    if as_json:
        print_json(result.to_json())
    else:
        _print_efficiency(result, Terminal())


def _print_efficiency(result: Efficiency, terminal: Terminal) -> None:
    latency, memory = result.latency_seconds, result.peak_memory_bytes
    columns = ["", "prompt tokens", "GFLOPs", "to analytic"]
    rows = [
        [work, str(result.prompt_tokens[work]), f"{found.counted / 1e9:,.2f}", f"{found.ratio:.4f}"]
        for work, found in result.flops.items()
    ]
    if latency and memory:
        columns += ["median s", "p90 s", "peak MiB"]
        peaks = (memory.scoring, memory.answering)
        for row, work, peak in zip(rows, result.flops, peaks, strict=True):
            seconds = latency[work]
            row += [f"{seconds.median:.3f}", f"{seconds.p90:.3f}", f"{peak / 2**20:.0f}"]
    where = f" on {result.device}, {result.dtype}" if result.device else ""
    title = f"{result.model}{where}, profile {result.profile}"
    terminal.table(escape(title), columns, rows)
    image, parameters = result.image, result.parameters.items()
    terminal.say(
        f"one image of {image['height']} x {image['width']} pixels: {image['tiles']} tiles, "
        f"{image['tokens']} tokens; an answer is {result.answer_tokens} tokens"
    )
    terminal.say("parameters: " + ", ".join(f"{part} {number:,}" for part, number in parameters))
    if latency and memory:
        terminal.say(f"preprocessing: {latency['preprocessing'].median:.3f} s (median)")
        terminal.say(f"memory: {memory.of}")
    for reason in dict.fromkeys(result.reasons.values()):
        terminal.say(reason)
