"""rim: the command line: its verbs, and the exit status of an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import qsit_ray.environment  # noqa: F401  (before any verb imports Ray)
from qsit_ray import __version__, addresses, ray_job
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli import (
    ablate,
    command_line,
    compare,
    config,
    convert,
    data,
    evaluate,
    fit,
    labels,
    lldescribe,
    rating,
    search,
    serve,
    submit,
    train,
)
from qsit_ray.cli.options import Out, Preset, Run, Set, all_local, local
from qsit_ray.cli.printing import say
from qsit_ray.cli.working import requested_config, working
from qsit_ray.errors import InputError
from qsit_ray.interrupt import end_at_sigterm, exit_status
from qsit_ray.terminal import Terminal

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
groups: dict[str, typer.Typer] = {}
for _name, _text in {
    "config": "Presets and settings.",
    "data": "The catalog of rows.",
    "search": "The proxy search.",
    "train": "The primary's run.",
    "evaluate": "Benchmarks.",
}.items():
    groups[_name] = typer.Typer(no_args_is_help=True, help=_text)
    app.add_typer(groups[_name], name=_name)

# Typer brings its own click; this is that click's error for a wrong option or argument.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def _say_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def qsit(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_say_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Find the data mix of a vision-language model with a small proxy, then train on it."""


@app.command()
def run(
    out: Out,
    preset: Preset = None,
    assignments: Set = [],  # noqa: B006
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Begin a new run with another's settings, and its results that --set leaves.",
            callback=local,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on whatever the searches leave open.")
    ] = False,
) -> None:
    """Run every stage in order; completed stages are skipped."""
    from qsit_ray import pipeline

    ray_job.check_address()
    folder = RunFolder(out.absolute())
    other = None if source is None else RunFolder(source.absolute())
    wanted = requested_config(folder, preset, assignments, other)
    with working(folder, wanted, other) as (settings, terminal):
        pipeline.run_all(folder, settings, terminal, yes)
        terminal.table(f"{out}", ["result", "value"], pipeline.results(folder))
        terminal.say(f"report: {folder.report}")


app.command()(ablate.ablate)


@app.command()
def show(run: Run) -> None:
    """Print a run's state and results."""
    from qsit_ray import pipeline
    from qsit_ray.run_config import opened

    folder = RunFolder(run.absolute())
    opened(folder)
    terminal = Terminal()
    stages = [
        (name, f"{stage.wall_seconds:.1f}", f"{stage.device_seconds:.1f}")
        for name, stage in folder.completed().items()
    ]
    terminal.table("Completed stages", ["stage", "wall s", "device s"], stages)
    terminal.table("Results", ["result", "value"], pipeline.results(folder))


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="The run folder; several for a page of all.", callback=all_local
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of several runs, the page; runs.html in the first one's folder by default."
        ),
    ] = None,
) -> None:
    """Write report.html and ledger.json from the files of the run folder, or a page that shows
    several runs side by side."""
    from qsit_ray.report import page, runs_page
    from qsit_ray.run_config import opened

    folders = [RunFolder(run.absolute()) for run in runs]
    if len(folders) == 1:
        if out is not None:
            raise InputError("--out belongs to several runs; one run has report.html in its folder")
        with working(folders[0]) as (settings, terminal):
            terminal.say("Write the report")
            file = page.build(folders[0], settings)
        return say(str(file))
    if len({folder.path.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is named twice")
    opened_runs = [(folder, opened(folder)) for folder in folders]
    file = out or folders[0].path / "runs.html"
    print(f"Write the page of {len(opened_runs)} runs", file=sys.stderr, flush=True)
    say(str(runs_page.build(opened_runs, file.absolute())))


config.register(groups["config"])
data.register(groups["data"])
labels.register(groups["data"])
convert.register(groups["data"])
search.register(groups["search"])
app.command()(fit.fit)
rating.register(app)
compare.register(app)
app.command()(serve.serve)
train.register(groups["train"], app)
evaluate.register(groups["evaluate"])
lldescribe.register(groups["evaluate"])
submit.register(app)


def _refuse_relative(words: list[str]) -> None:
    """Raises InputError for a relative path of a job's command, whatever its verb."""
    if not words or "--help" in words or words == ["--version"]:
        return
    command = command_line.parsed(typer.main.get_command(app), words)
    ray_job.refuse_relative(command_line.relative_paths(command, Path.is_file))


def main() -> None:
    """Run the command line. Exit status: 2 for a user's mistake, 1 for a failure, 130 for Ctrl-C,
    143 for SIGTERM."""
    end_at_sigterm()
    try:
        for word in sys.argv[1:]:
            addresses.check(word)  # before any message repeats it
        if ray_job.in_job():
            _refuse_relative(sys.argv[1:])
        status = app(standalone_mode=False)
        if status == 130:  # typer's own answer to a KeyboardInterrupt
            status = exit_status()
    except (InputError, OSError, USAGE_ERROR) as error:  # `working` handles a run's failures
        if str(error):  # a verb without arguments has printed its help instead
            print(f"qsit: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = exit_status()
    raise SystemExit(status or 0)


if __name__ == "__main__":
    main()
