"""rim: the command line of the studies: `python -m evaluation.studies NAME --out docs/PAGE.md`.

Exit status 2 for a user's mistake.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.sections import Page

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Computes the figures of the docs' pages."
)
for name in (
    "ablation",
    "adaptive",
    "catalog_size",
    "controller",
    "eighth",
    "families",
    "hours",
    "modules",
    "objective",
    "order",
    "regmix",
    "reproduction",
    "settings",
    "shares",
    "surrogate",
    "useful_share",
):
    app.command(name.replace("_", "-"))(import_module(f"qsit_ray.evaluation.studies.{name}").write)


@app.command("trial-cost")
def trial_cost(
    run: Annotated[Path, typer.Argument(help="A run folder whose catalog is complete.")],
    out: Annotated[Path | None, typer.Option(help="The page; printed without one.")] = None,
    trials: Annotated[int, typer.Option(min=2)] = 5,
) -> None:
    """The fixed cost of a trial, in a reused process and in a fresh one."""
    from qsit_ray.evaluation.studies import trial_cost  # here: the others need no Ray

    trial_cost.write(run, out, trials)


@app.command("first-batch")
def first_batch(
    micro_batches: Annotated[int, typer.Option(min=6)] = 36_000,
    read: Annotated[int, typer.Option(min=2)] = 200,
    cpus: Annotated[int, typer.Option(min=1)] = 4,
) -> None:
    """Seconds to the first batch of an epoch of many micro-batches; printed."""
    from qsit_ray.evaluation.studies import first_batch  # here: the others need no Ray

    first_batch.write(micro_batches, read, cpus)


@app.command()
def gpu(
    out: Page = Path("docs/GPU.md"),
    layers: Annotated[int, typer.Option(min=1, max=28)] = 4,
    steps: Annotated[int, typer.Option(min=1)] = 30,
) -> None:
    """A short training of the 7B's layers on this machine's GPUs."""
    from qsit_ray.evaluation.studies import gpu  # here: the others need no Ray

    gpu.write(out, layers, steps)


@app.command()
def autoscaling(
    out: Page = Path("docs/CLUSTER.md"), late: Annotated[int, typer.Option(min=0)] = 90
) -> None:
    """A rehearsal on a cluster that grows and shrinks, of nodes on this machine."""
    from qsit_ray.evaluation.studies import autoscaling  # here: the others need no Ray

    autoscaling.write(out, late)


@app.command()
def gpu_rating(
    out: Page = Path("docs/GPU.md"), images: Annotated[int, typer.Option(min=8)] = 256
) -> None:
    """Images a second of scoring on this machine's GPU."""
    from qsit_ray.evaluation.studies import gpu_rating  # here: the others need no torch

    gpu_rating.write(out, images)


@app.command()
def load(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    out: Page = Path("docs/USE.md"),
    clients: Annotated[int, typer.Option(min=1)] = 50,
    seconds: Annotated[int, typer.Option(min=10)] = 60,
) -> None:
    """A service under many clients, and without one of its replicas."""
    from qsit_ray.evaluation.studies import load  # here: the others need no Ray

    load.write(out, model, clients, seconds)


@app.command()
def rating(
    out: Page = Path("docs/USE.md"), images: Annotated[int, typer.Option(min=1)] = 200
) -> None:
    """Scores and answers of a Rater beside one image at a time."""
    from qsit_ray.evaluation.studies import rating  # here: the others need no torch

    rating.write(out, images)


@app.command()
def method(
    out: Annotated[Path, typer.Option(help="The folder of the pictures.")] = Path("docs"),
) -> None:
    """Pictures of the method: the path of the data, a fitted search, the controller."""
    from qsit_ray.evaluation.studies import method_pictures  # here: the others need no matplotlib

    method_pictures.write(out)


@app.command()
def page(
    out: Annotated[Path, typer.Option(help="The folder of the pictures.")] = Path("docs"),
) -> None:
    """Pictures of the service's page, with example values, in light, in dark and on a phone."""
    from qsit_ray.evaluation.studies import page_pictures  # here: the others need no server

    page_pictures.write(out)


@app.command()
def dashboard(
    out: Annotated[Path, typer.Option(help="The folder of the pictures.")] = Path("docs"),
) -> None:
    """Pictures of Ray's dashboard while a rehearsal runs."""
    from qsit_ray.evaluation.studies import dashboard_pictures  # here: the others need no Ray

    dashboard_pictures.write(out)


def main() -> None:
    try:
        app()
    except InputError as error:
        print(f"qsit: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
