"""rim: the verbs of the proxy search: search run, estimate and show."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json, Run, Set
from qsit_ray.cli.printing import print_json
from qsit_ray.cli.working import working
from qsit_ray.errors import InputError


def register(search: typer.Typer) -> None:
    """Add the verbs to the command group `search`."""
    search.command("run")(run)
    search.command("estimate")(estimate)
    search.command("show")(show)


def run(run: Run) -> None:
    """Run the search that comes next: an axis, or the final proxies once both are fitted."""
    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal), pipeline.ray_session(config):
        done = pipeline.search_next(folder, config, terminal)
        terminal.say(f"{done}: done" if done else "every search is complete")


def estimate(
    preset: Annotated[str, typer.Option(help="A preset's name, or a YAML file.")],
    assignments: Set = [],  # noqa: B006
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials at once; by default what the cluster of RAY_ADDRESS holds, and without "
            "one as many as the primary's run has workers.",
        ),
    ] = None,
    rows_per_second: Annotated[
        float | None,
        typer.Option(help="Rows that one trial trains a second; by default the paper's rate."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Trials, rows, GPU-hours and wall time of a search, before anything starts."""
    from qsit_ray.config import presets
    from qsit_ray.config.files import override
    from qsit_ray.search.estimate import estimate

    config = override(presets.resolve(preset), assignments)
    sizes = config.expected_sizes
    if sizes is None:
        raise InputError(f"--preset {preset}: data.expected_rows is needed to plan without data")
    slots, slots_from = (slots, "given") if slots else _slots(config)
    found = {**estimate(config, sizes, slots, rows_per_second), "slots_from": slots_from}
    if as_json:
        print_json(found)
        return
    from qsit_ray.terminal import Terminal

    terminal = Terminal()
    rows = [*found["by_axis"].items(), ("in all", found)]
    terminal.table(
        f"Search of {preset}: at most",
        ["axis", "trials", "rows", "GPU h", "wall h"],
        [
            (
                axis,
                f"{n['trials']}",
                f"{n['rows']:,}",
                f"{n['gpu_hours']:.1f}",
                f"{n['wall_hours']:.1f}",
            )
            for axis, n in rows
        ],
    )
    terminal.say(
        f"{found['rows_per_second']:.1f} rows/s a trial ({found['rate_from']}), "
        f"{slots} trials at once ({slots_from}); a plateau ends most trials earlier."
    )


def show(run: Run, as_json: Json = False) -> None:
    """A run's trials, why some failed, the best ratio of each axis, and the cost."""
    from qsit_ray.search import summary

    folder = RunFolder(run.absolute())
    config = pipeline.opened(folder)
    found = summary.summary(folder, config)
    if as_json:
        print_json(found)
        return
    from qsit_ray.terminal import Terminal

    terminal = Terminal()
    for axis, content in found["by_axis"].items():
        terminal.table(
            axis,
            ["ratio", "seed", "status", "score", "steps", "device s"],
            [_shown(row) for row in summary.rows(folder, config, axis)],
        )
        for failure in content["failures"]:
            terminal.say(
                f"ratio {failure['ratio']:g} seed {failure['seed']}: failed: {failure['reason']}"
            )
        if content["best_ratio"] is not None:
            terminal.say(f"best ratio: {content['best_ratio']:.4g}")
        if content["verdict"]:
            terminal.say(content["verdict"])
    seconds = found["device_seconds"]
    terminal.say(f"device seconds: {seconds['used']:.1f} used, {seconds['wasted']:.1f} wasted")


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    def told(name: str, form: Callable[[Any], str]) -> str:
        value = row.get(name)
        return "–" if value is None else form(value)

    return (
        f"{row['ratio']:g}",
        str(row["seed"]),
        row["status"],
        told("score", "{:.4f}".format),
        told("steps", str),
        told("device_seconds", "{:.1f}".format),
    )


def _slots(config: Any) -> tuple[int, str]:
    """Trials at once on the cluster at hand, or on what the primary's run will need anyway."""
    if "RAY_ADDRESS" not in os.environ:
        return config.train.workers, "train.workers"
    from qsit_ray.session import slots

    return slots(config.search.cpus_per_trial, config.search.gpus_per_trial), "the cluster"
