"""rim: the command line: parses, calls one function, prints."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from qsit_ray import (
    cli_efficiency,
    cli_fit,
    cli_lldescribe,
    cli_outputs,
    cli_search,
    cli_train,
    pipeline,
    presets,
)
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import Config, override
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal, quiet

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the data mix of a vision-language model with a small proxy, then train on it.",
)
verbs = {
    name: typer.Typer(no_args_is_help=True, help=text)
    for name, text in {
        "data": "The catalog of rows.",
        "search": "The proxy search.",
        "train": "The primary's run.",
        "evaluate": "Benchmarks.",
    }.items()
}
for _name, _verb in verbs.items():
    app.add_typer(_verb, name=_name)
cli_outputs.register(verbs["data"], verbs["evaluate"])
cli_lldescribe.register(verbs["evaluate"])
cli_efficiency.register(verbs["evaluate"])
cli_search.register(verbs["search"])
cli_train.register(verbs["train"], app)

# Typer brings its own click; this is that click's error for a wrong option or argument.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]

Run = Annotated[Path, typer.Argument(help="The run folder.")]
Preset = Annotated[str | None, typer.Option(help="A preset's name, or a YAML file.")]
Out = Annotated[Path, typer.Option(help="The run folder to make or to go on with.")]
Set = Annotated[list[str], typer.Option("--set", help="Override one setting: a.b=value.")]


@app.command("run")
def run_command(out: Out, preset: Preset = None, assignments: Set = []) -> None:  # noqa: B006
    """Run every stage in order; what stands already is skipped."""
    run = RunFolder(out.absolute())
    with working(run, _settings(run, preset, assignments)) as (config, terminal):
        pipeline.run_all(run, config, terminal)
        terminal.table(f"{out}", ["result", "value"], pipeline.results(run))
        terminal.say(f"report: {run.report}")


@app.command()
def show(run: Run) -> None:
    """Print a run's state and results."""
    folder = RunFolder(run.absolute())
    pipeline.opened(folder)
    terminal = Terminal()
    costs = folder.costs().items()
    terminal.table(
        "Stages that stand",
        ["stage", "wall s", "device s"],
        [(name, f"{c['wall_seconds']:.1f}", f"{c['device_seconds']:.1f}") for name, c in costs],
    )
    terminal.table("Results", ["result", "value"], pipeline.results(folder))


@verbs["data"].command("build")
def data_build(run: Run, preset: Preset = None, assignments: Set = []) -> None:  # noqa: B006
    """Build the catalog, and base models where the demo makes its own."""
    folder = RunFolder(run.absolute())
    with working(folder, _settings(folder, preset, assignments)) as (config, terminal):
        pipeline.build_data(folder, config, terminal)


@verbs["search"].command("run")
def search_run(run: Run) -> None:
    """Run the search that comes next: an axis, or the final proxies once both are fitted."""
    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal), pipeline.ray_session(config):
        done = pipeline.search_next(folder, config, terminal)
        terminal.say(f"{done}: done" if done else "every search stands already")


@verbs["train"].command("run")
def train_run(
    run: Run,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers this time; by default train.workers.")
    ] = None,
) -> None:
    """Train the primary at the mixture; resumes by itself, on fewer or more workers too."""
    from qsit_ray.train.driver import train

    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal):
        number = workers or config.train.workers
        sized = config.train.model_copy(update={"workers": number})
        with pipeline.ray_session(config.model_copy(update={"train": sized})):
            train(folder, config, terminal, number)


@verbs["evaluate"].command("run")
def evaluate_run(run: Run) -> None:
    """Evaluate the primary, the untrained primary and the proxy on the test benchmarks."""
    from qsit_ray.evaluate import evaluate

    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal), pipeline.ray_session(config):
        evaluate(folder, config, terminal)


@app.command()
def report(run: Run) -> None:
    """Write report.html and ledger.json from what the run folder holds."""
    from qsit_ray.report.page import build

    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal):
        terminal.say(str(build(folder, config)))


@contextmanager
def working(run: RunFolder, config: Config | None = None) -> Iterator[tuple[Config, Terminal]]:
    """Hold the run, with its configuration; libraries' output goes to its log.

    A failure that is not the user's leaves its traceback in the log and exits with status 1.
    """
    if config is None:
        config = pipeline.opened(run)
    with run.lock():
        pipeline.create(run, config)
        try:
            with quiet(run.log) as terminal:
                try:
                    yield config, terminal
                except Exception:
                    traceback.print_exc()
                    raise
        except InputError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            print(
                f"qsit: failed: {type(error).__name__}: {reason[-1] if reason else ''}\n"
                f"qsit: what stands is kept; the log is {run.log}",
                file=sys.stderr,
            )
            raise typer.Exit(1) from error


cli_fit.register(app, working)


def _settings(run: RunFolder, preset: str | None, assignments: list[str]) -> Config:
    if preset is None and not run.config.exists():
        raise InputError(f"{run.path}: no run here yet; say which --preset to make")
    config = presets.resolve(preset) if preset else pipeline.opened(run)
    return override(config, assignments)


def main() -> None:
    try:
        status = app(standalone_mode=False)
    except (InputError, OSError) as error:  # what a run's own work raises is met in `working`
        print(f"qsit: {error}", file=sys.stderr)
        status = 2
    except USAGE_ERROR as error:
        if str(error):  # a verb without arguments has printed its help instead
            print(f"qsit: {error}", file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    raise SystemExit(status or 0)


if __name__ == "__main__":
    main()
