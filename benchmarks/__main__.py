"""rim: the suite's command line: `python -m benchmarks`, or `make bench ONLY=scoring`.

Exit status 2 for a user's mistake; 1 where a question failed, or both sides did not do the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.figures import Curve, Found
from benchmarks.machine import this_machine
from benchmarks.pairs import ROOT
from benchmarks.plots import write_plots
from benchmarks.table import Result, number, write_table
from qsit_ray.errors import InputError

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "PERFORMANCE.md"
QUIET = 5.0
"""Seconds in which other work is looked for before a question."""
PLOTS = ROOT / "docs" / "scaling.svg"
GROWTH = ("scaling_rows", "scaling_images", "scaling_workers", "scaling_trials")
"""The questions that have a plot."""
# The modules of the questions, in the table's order.
NAMES = (
    "tiny_primary",
    "tiny_proxy",
    "real_shape",
    "two_ranks",
    "scoring",
    "questions",
    "one_image",
    "useful_time",
    "trial_images",
    "blocks",
    "makespan",
    "fixed_cost",
    "search_cost",
    "plans",
    "catalogs",
    "bootstraps",
    "million_rows",
    "start",
    "checkpoints",
    *GROWTH,
    "on_gpu",
)

app = typer.Typer(add_completion=False, help="Speed, side by side with what users would run.")


@app.command()
def bench(
    only: Annotated[str, typer.Option(help="Questions, comma between; all without.")] = "",
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Tiny sizes: whether both sides give the same.")
    ] = False,
) -> None:
    """Ask the questions, write their results and the table."""
    wanted = only.replace(",", " ").split() or list(NAMES)
    if unknown := [name for name in wanted if name not in NAMES]:
        raise InputError(f"no question {', '.join(unknown)}; expected {', '.join(NAMES)}")
    texts = {name: import_module(f"benchmarks.{name}").TEXT for name in NAMES}
    failed = []
    for name in wanted:
        machine = this_machine() if smoke else this_machine(QUIET)
        began = time.monotonic()
        try:
            found = ask(name, smoke)
        except InputError:
            raise
        except Exception:  # the others are asked all the same
            traceback.print_exc()
            failed.append(name)
            continue
        seconds = time.monotonic() - began
        say(name, found, seconds, smoke)
        failed += [name] if not all(check.holds for check in found.checks) else []
        if not smoke and name not in failed and found.missing is None:
            date = str(datetime.now(UTC).date())
            Result(name, date, round(seconds, 1), machine, found).write(RESULTS)
            # Now: a run of all may be interrupted.
            write_table(PAGE, RESULTS, texts)
            write_plots(PLOTS, curves(RESULTS))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        raise SystemExit(1)


def curves(folder: Path) -> list[Curve]:
    """Of the questions about growth that were asked."""
    files = [folder / f"{name}.json" for name in GROWTH]
    found = [Result.read(file).found.curve for file in files if file.exists()]
    return [curve for curve in found if curve is not None]


def ask(name: str, smoke: bool) -> Found:
    """The answer of one question, with a temporary folder of its own."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", ignore_cleanup_errors=True) as folder:
        found: Found = import_module(f"benchmarks.{name}").run(smoke, Path(folder))
        return found


def say(name: str, found: Found, seconds: float, smoke: bool) -> None:
    """What was found, on the terminal; without figures in a smoke run, which measures nothing."""
    print(f"{name}: {seconds:.0f} s{f': {found.missing}' if found.missing else ''}", flush=True)
    for check in found.checks:
        print(f"  {'same' if check.holds else 'NOT THE SAME'}: {check.what} ({check.found})")
    for figure in [] if smoke else found.figures:
        goal = "" if figure.goal is None else f", goal {figure.goal}"
        print(f"  {figure.what}: {number(figure.value.median)} {figure.unit}{goal}", flush=True)


def main() -> None:
    try:
        app()
    except InputError as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
