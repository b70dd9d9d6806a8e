"""rim: the verbs of the proxy search: search run, end, estimate, show and merge-check."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json, Run, Set
from qsit_ray.cli.printing import print_json
from qsit_ray.cli.working import working
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.config.config import Config


def register(search: typer.Typer) -> None:
    """Add the verbs to the command group `search`."""
    search.command("run")(run)
    search.command("end")(end)
    search.command("estimate")(estimate)
    search.command("show")(show)
    search.command("merge-check")(merge_check)


def run(run: Run, assignments: Set = []) -> None:  # noqa: B006
    """Run the next search: an axis, or the final proxies once both axes are fitted."""
    from qsit_ray import pipeline, placement
    from qsit_ray.config.files import override
    from qsit_ray.run_config import opened

    folder = RunFolder(run.absolute())
    with working(folder, override(opened(folder), assignments)) as (config, terminal):
        with pipeline.ray_session(config, terminal, placement.trial(config.search)):
            done = pipeline.search_next(folder, config, terminal)
        terminal.say(f"{done}: done" if done else "every search is complete")


def end(run: Run) -> None:
    """End a grid search that was stopped: the trials that have finished are all of its axis."""
    from qsit_ray.run_config import opened

    folder = RunFolder(run.absolute())
    with working(folder, opened(folder)) as (config, terminal):
        from qsit_ray.stages.search import end_axis

        axis, count = end_axis(folder, config)
        terminal.say(f"{axis}: ended with {count} trials; `qsit fit {run}` or `qsit run` goes on")


def merge_check(run: Run, as_json: Json = False) -> None:
    """Whether merged experts would tell what trained mixtures do, for this base and step size.

    Trains three components and four mixtures between them, with the run's own settings.
    """
    from qsit_ray import pipeline, placement

    folder = RunFolder(run.absolute())
    with working(folder) as (config, terminal):
        from rich.console import Console

        from qsit_ray.losses import symbol
        from qsit_ray.mixture import short_names
        from qsit_ray.stages.merge_check import merge_check

        # Standard error is the run's log here.
        progress = Terminal(Console(stderr=True)) if as_json else terminal
        with pipeline.ray_session(config, progress, placement.trial(config.search)):
            found = merge_check(folder, config, progress)
        names, tasks = short_names(config.pools), config.tasks
    if as_json:
        return print_json(found.to_json())
    terminal = Terminal()
    terminal.table(
        "Merged and trained",
        [
            f"parts {' : '.join(names)}",
            *(name for task in tasks for name in (f"log {symbol(task)} trained", "merged")),
        ],
        [
            (
                " : ".join(f"{part:.2g}" for part in each.parts),
                *(f"{of[loss]:.3f}" for loss in found.losses for of in (each.trained, each.merged)),
            )
            for each in found.anchors
        ],
    )
    terminal.say(found.verdict)


def estimate(
    preset: Annotated[str, typer.Option(help="A preset's name, or a YAML file.")],
    assignments: Set = [],  # noqa: B006
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials at once; by default as many as the cluster of RAY_ADDRESS holds now, or "
            "without one as many as the primary's run has workers.",
        ),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(help="Ray's cluster launcher YAML: trials at once are what it may bring."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Of a trial, such as H100, L40S or A800, the default.")
    ] = None,
    utilisation: Annotated[
        float | None, typer.Option(help="Share of its peak that is reached; by default 0.4.")
    ] = None,
    rows_per_second: Annotated[
        float | None,
        typer.Option(help="Rows per second of one trial, where they were measured."),
    ] = None,
    price: Annotated[float | None, typer.Option(help="Of a GPU-hour, in any currency.")] = None,
    as_json: Json = False,
) -> None:
    """Trials, rows, GPU-hours, wall time and cost of a search, before it starts.

    A range: from every trial ending at its first plateau to each as long as it may be.
    """
    from qsit_ray.config import presets
    from qsit_ray.config.files import override
    from qsit_ray.search.estimate import AxisEstimate, estimate

    config = override(presets.resolve(preset), assignments)
    sizes = config.expected_sizes
    if sizes is None:
        raise InputError(
            f"--preset {preset}: data.expected_rows is needed to plan without data; of data.source "
            "pools nothing can be planned before"
        )
    if slots and cluster:
        raise InputError("--slots and --cluster: give one of them")
    slots, slots_from = (slots, "given") if slots else _slots(config, cluster)
    # DeepSpeed searches for a GPU when it is imported, and prints to stdout when there is none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with redirect_stdout(sys.stderr):
        from qsit_ray.search import pace
        from qsit_ray.stages.base_models import model_config

        if rows_per_second is not None:
            if (gpu, utilisation) != (None, None):
                raise InputError("--rows-per-second was measured; give no --gpu with it")
            rate = pace.given(rows_per_second)
        else:
            shape = model_config(config.models.proxy)
            rate = pace.of_gpu(
                shape,
                "A800" if gpu is None else gpu,
                pace.UTILISATION if utilisation is None else utilisation,
            )
    found = estimate(config, sizes, slots, rate, price)
    if as_json:
        print_json({**found.to_json(), "slots_from": slots_from})
        return
    terminal = Terminal()
    lines: list[tuple[str, AxisEstimate]] = [*found.by_axis.items(), ("in all", found)]
    terminal.table(
        f"Search of {preset}",
        ["axis", "trials", "rows at most", "GPU h", "wall h at most"],
        [
            (
                name,
                f"{n.trials}",
                f"{n.rows:,}",
                f"{_hours(n.least_gpu_hours)} to {_hours(n.gpu_hours)}",
                _hours(n.wall_hours),
            )
            for name, n in lines
        ],
    )
    terminal.say(
        f"{found.rows_per_second:.2g} rows/s a trial: {found.rate_from}; looks not counted"
    )
    terminal.say(f"{slots} trials at once ({slots_from}); most trials end at a plateau")
    if found.cost is not None and found.least_cost is not None:
        terminal.say(f"cost: {found.least_cost:,.0f} to {found.cost:,.0f}")


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def show(run: Run, as_json: Json = False) -> None:
    """A run's trials, the reasons of failures, the best ratio of each axis, and the cost."""
    from qsit_ray.run_config import opened
    from qsit_ray.search import summary

    folder = RunFolder(run.absolute())
    searches = summary.summary(folder, opened(folder))
    if as_json:
        print_json(summary.to_json(searches))
        return
    terminal = Terminal()
    for axis, found in searches.items():
        terminal.table(
            axis,
            ["ratio", "seed", "status", "score", "steps", "device s"],
            [
                (
                    f"{row.ratio:g}",
                    str(row.seed),
                    row.status,
                    "–" if row.score is None else f"{row.score:.4f}",
                    "–" if row.steps is None else str(row.steps),
                    "–" if row.device_seconds is None else f"{row.device_seconds:.1f}",
                )
                for row in found.rows
            ],
        )
        for row in found.failures:
            terminal.say(f"ratio {row.ratio:g} seed {row.seed}: failed: {row.reason}")
        if found.best_ratio is not None:
            flat = found.fitted is not None and found.fitted.fit.flat
            label = "no ratio stands out; taken" if flat else "best ratio"
            terminal.say(f"{label}: {found.best_ratio:.4g}")
        if found.fitted is not None:
            terminal.say(found.fitted.verdict)
    used = sum(found.cost.used for found in searches.values())
    wasted = sum(found.cost.wasted for found in searches.values())
    terminal.say(f"device seconds: {used:.1f} used, {wasted:.1f} wasted")


def _slots(config: Config, cluster: Path | None) -> tuple[int, str]:
    """Trials at once on the `cluster` that a file describes, on that of RAY_ADDRESS, or on the
    resources of the primary's run. Raises InputError where no node of the file holds a trial."""
    from qsit_ray import placement

    if cluster is not None:
        from qsit_ray.launcher import read_launcher

        request = placement.trial(config.search)
        found = read_launcher(cluster).bundles(request)
        if not found:
            raise InputError(f"{cluster}: no node that it may bring holds a trial: {request.needs}")
        return found, str(cluster)
    if "RAY_ADDRESS" not in os.environ:
        return config.train.workers, "train.workers"
    from qsit_ray.session import slots

    return slots(placement.trial(config.search)), "the cluster as it is now"
