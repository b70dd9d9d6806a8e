"""rim: the verbs that use a model: score, ask and describe."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import typer
from rich.console import Console

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json
from qsit_ray.cli.printing import print_json, print_table, say
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.rating.rater import Rater
    from qsit_ray.rating.remote import RemoteRater
    from qsit_ray.rating.results import Choice, Reject, Reply, Score

Model = Annotated[
    str,
    typer.Option(
        help="A model's folder, a run's, or a name on the Hugging Face Hub; of a server, the name "
        "that it serves."
    ),
]
Backend = Annotated[
    Literal["local", "vllm"],
    typer.Option(help="Where the model runs: here, or on a server of OpenAI's protocol."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="The server's, like http://127.0.0.1:8000/v1; a key is read from QSIT_MODEL_KEY.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="The prompt: paper, or official for the weights that Q-SIT's authors released; with "
        "--backend vllm also a model's profile.json. By default the model's own, or paper."
    ),
]
Precision = Annotated[
    Literal["fp32", "bf16"] | None,
    typer.Option(help="By default bf16 on a GPU, else fp32."),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens that go through the model at once; a matter of memory."),
]
Shown = Annotated[str, typer.Argument(metavar="IMAGE", help="A file or an address.")]
Gpus = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1,
        help="GPUs of each copy of the model; by default 1 where Ray has any now. Give 1 where an "
        "autoscaler is yet to bring them.",
    ),
]
MostTokens = Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")]


class _HasRow(Protocol):
    def to_row(self) -> dict[str, Any]: ...


Scored = TypeVar("Scored", bound=_HasRow)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb in (score, ask, describe):
        app.command()(verb)


def score(
    model: Model,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders, patterns, addresses, tables with a column of paths; - for the "
            "lines of standard input.",
        ),
    ] = None,
    profile: Profile = None,
    column: Annotated[
        str | None, typer.Option(help="A table's column of paths; by default image.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file to write: .csv, .jsonl or .parquet.")
    ] = None,
    precision: Precision = None,
    batch_tokens: BatchTokens = None,
    selftest: Annotated[
        bool,
        typer.Option("--selftest", help="Compare with the scores that the model's folder has."),
    ] = False,
    source: Annotated[
        list[str] | None, typer.Option("--input", help="Images, as the argument IMAGES.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="A folder or an object store's address: a job on Ray, which goes on where it was "
            "stopped when the same command is run again."
        ),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs of an actor of the job, beside its GPU.")
    ] = None,
    gpus: Gpus = None,
    actors: Annotated[int, typer.Option(min=1, help="Actors of the job at most.")] = 1_000,
    shard_images: Annotated[
        int, typer.Option(min=1, help="Images of one file of the job's output.")
    ] = 1_000,
    backend: Backend = "local",
    endpoint: Address = None,
    as_json: Json = False,
) -> None:
    """Score images: a table on a terminal, csv elsewhere; with --output a job on Ray.

    What can't be read is named at the end, with exit status 2; the rest is scored.
    """
    from qsit_ray.rating import inputs, outputs  # here: other verbs need neither pyarrow nor Pillow
    from qsit_ray.rating.results import Reject, Score

    given = [*(images or []), *(source or [])]
    if selftest == bool(given):
        raise InputError("give images, or --selftest without any")
    if out is not None:
        outputs.check_name(out)
        if output is not None:
            raise InputError("give --out for one file, or --output for a job's folder")
    place = _address(backend, endpoint, precision, batch_tokens)
    if output is not None and place is not None:
        raise InputError("--output is a job of models that are loaded here; leave out --backend")
    listed = inputs.listed(given, column, sys.stdin)
    if output is not None:
        from qsit_ray.cli import scoring_job

        job = scoring_job.Job(
            folder_of(model), profile, precision, batch_tokens, cpus, gpus, actors, shard_images
        )
        return scoring_job.run(job, listed, output, as_json)
    if selftest:
        if place is not None:
            raise InputError("--selftest compares a model that is loaded here; leave out --backend")
        return _selftest(loaded(model, profile, precision, batch_tokens), as_json)
    rater = _rater(model, profile, precision, place, batch_tokens)
    conditions, words = rater.conditions, rater.profile.words
    coming = watched(rater.scores(listed), len(listed))
    if out is None and not as_json and not sys.stdout.isatty():
        coming = printed(coming, outputs.csv_writer(sys.stdout, words))
    found = list(coming) if out is None else outputs.kept(out, coming)
    scores = [each for each in found if isinstance(each, Score)]
    rejects = [each for each in found if isinstance(each, Reject)]
    if out is not None:
        outputs.write(out, words, scores, rejects, conditions)
    if as_json:
        print_json(
            {
                "conditions": conditions,
                "scores": [each.to_row() for each in scores],
                "rejects": [asdict(each) for each in rejects],
            }
        )
    elif out is None and sys.stdout.isatty():
        low, high = rater.profile.score_range
        rows = [(each.image, each.score, each.std, each.level) for each in scores]
        print_table(f"Scores, {low:g} to {high:g}", ["image", "score", "std", "level"], rows)
    refuse(rejects, f"{len(listed)} images")


def ask(
    image: Shown,
    questions: Annotated[list[str], typer.Argument(help="Questions about the image.")],
    model: Model,
    choice: Annotated[
        list[str] | None,
        typer.Option("--choice", help="A candidate; with two or more the likeliest is chosen."),
    ] = None,
    profile: Profile = None,
    precision: Precision = None,
    most_tokens: MostTokens = 512,
    backend: Backend = "local",
    endpoint: Address = None,
    as_json: Json = False,
) -> None:
    """Ask an image questions; it is read once for all of them."""
    from qsit_ray.rating.results import Choice, check_candidates

    if choice is not None:
        check_candidates(choice)
    place = _address(backend, endpoint, precision)
    _check_image(image)
    view = _rater(model, profile, precision, place).view(image)
    found: list[Reply | Choice] = [
        view.choose(text, choice) if choice else view.ask(text, most_tokens) for text in questions
    ]
    if as_json:
        return print_json({"answers": [asdict(each) for each in found]})
    for each in found:
        if len(found) > 1:
            say(f"{each.question}")
        if isinstance(each, Choice):
            shares = ", ".join(f"{text} {100 * p:.1f} %" for text, p in each.probabilities.items())
            say(f"{each.answer} ({shares})")
        else:
            _print(each)


def describe(
    image: Shown,
    model: Model,
    profile: Profile = None,
    precision: Precision = None,
    most_tokens: MostTokens = 512,
    backend: Backend = "local",
    endpoint: Address = None,
    as_json: Json = False,
) -> None:
    """Describe an image's quality in words."""
    place = _address(backend, endpoint, precision)
    _check_image(image)
    reply = _rater(model, profile, precision, place).describe(image, most_tokens)
    if as_json:
        return print_json(asdict(reply))
    _print(reply)


def _check_image(image: str) -> None:
    """Raises InputError for a file that is no image, before a model is loaded. An address is
    fetched later."""
    from qsit_ray.data import images
    from qsit_ray.rating.pictures import is_address

    if not is_address(image):
        images.size(Path(image))


def _address(
    backend: str, endpoint: str | None, precision: str | None, tokens: int | None = None
) -> str | None:
    """The server's address; None of a model that is loaded here. Raises InputError for options that
    do not go together."""
    if backend == "local":
        if endpoint is not None:
            raise InputError("--endpoint is a server's address; give --backend vllm with it")
        return None
    for name, value in (("--precision", precision), ("--batch-tokens", tokens)):
        if value is not None:
            raise InputError(f"{name} is of a model that is loaded here; the server has its own")
    address = endpoint or os.environ.get("QSIT_MODEL_URL", "")
    if not address:
        raise InputError("--backend vllm needs --endpoint, like http://127.0.0.1:8000/v1")
    return address


def _rater(
    model: str,
    profile: str | None,
    precision: Literal["fp32", "bf16"] | None,
    address: str | None,
    tokens: int | None = None,
) -> Rater | RemoteRater:
    """The model that the server at an address runs, or one that is loaded here."""
    if address is None:
        return loaded(model, profile, precision, tokens)
    from qsit_ray.rating.remote import RemoteRater

    Terminal(Console(stderr=True), stamped=True).say(f"Asking the server of {model} ...")
    return RemoteRater.load(address, model, profile)


def loaded(
    model: str,
    profile: str | None,
    precision: Literal["fp32", "bf16"] | None,
    tokens: int | None = None,
) -> Rater:
    """The model of a folder, of a run's folder, or of the Hub; loading it is said on the screen."""
    folder = folder_of(model)
    Terminal(Console(stderr=True), stamped=True).say(f"Loading {folder} ...")
    from qsit_ray.rating.rater import Rater

    return Rater.load(folder, profile, precision=precision, batch_tokens=tokens)


def folder_of(model: str) -> str:
    """The model's folder of a run, or the folder or name on the Hub as it is."""
    run = RunFolder(Path(model).absolute())
    return str(run.model) if run.model.is_dir() else model


def watched(found: Iterable[Score | Reject], total: int) -> Iterator[Score | Reject]:
    """The same, with a progress bar of `total` images."""
    with Terminal(Console(stderr=True)).bar("Score images") as bar:
        for done, each in enumerate(found, start=1):
            yield each
            bar.update(done, total)


def printed(
    found: Iterable[Scored | Reject], writer: csv.DictWriter[str]
) -> Iterator[Scored | Reject]:
    """The same; the row of each score is printed as it comes."""
    from qsit_ray.rating.results import Reject

    for each in found:
        if not isinstance(each, Reject):
            writer.writerow(each.to_row())
        yield each


def refuse(rejects: Sequence[Reject], total: str) -> None:
    """Print each reason; raises InputError where there are rejects, of the `total`."""
    for each in rejects:
        print(f"qsit: {each.reason}", file=sys.stderr)
    if rejects:
        raise InputError(f"{len(rejects)} of {total} are rejected")


def _selftest(rater: Rater, as_json: bool) -> None:
    from qsit_ray.rating import reference

    found = reference.check(rater)
    if as_json:
        print_json({**asdict(found), "worst": found.worst, "passed": found.is_passed})
    else:
        pairs = zip(found.expected, found.found, strict=True)
        rows = [(f"{number}", *pair) for number, pair in enumerate(pairs, start=1)]
        print_table("Reference images", ["image", "in the model's folder", "here"], rows)
        say(f"greatest difference {found.worst:.1e} of the range; {found.tolerance:g} is allowed")
    if not found.is_passed:
        raise typer.Exit(1)


def _print(reply: Reply) -> None:
    say(reply.text)
    if not reply.is_whole:
        print("qsit: the answer was cut; see --most-tokens", file=sys.stderr)
