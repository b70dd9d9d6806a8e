"""rim: the verbs of the primary: train run, plan and show, and export."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
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
    from qsit_ray.train.estimate import Estimate


def register(train: typer.Typer, app: typer.Typer) -> None:
    """Add the verbs to the command group `train`, and `export` to the command line itself."""
    train.command("run")(run)
    train.command("plan")(plan)
    train.command("show")(show)
    app.command("export")(export)


def run(
    run: Run,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers this time; default train.workers.")
    ] = None,
    assignments: Set = [],  # noqa: B006
) -> None:
    """Train the primary at the mixture, or resume it, also on another number of workers."""
    from qsit_ray import pipeline, placement
    from qsit_ray.config.files import override
    from qsit_ray.run_config import opened

    folder = RunFolder(run.absolute())
    with working(folder, override(opened(folder), assignments)) as (config, terminal):
        from qsit_ray.stages.train import train  # here: a run that is held is refused at once

        number = workers or config.train.workers
        sized = config.train.model_copy(update={"workers": number})
        resized = config.model_copy(update={"train": sized})
        asked = placement.ranks(sized, number), placement.cpu_task(sized)
        with pipeline.ray_session(resized, terminal, *asked):
            train(folder, config, terminal, number)


def plan(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder; its configuration and mixture are used.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="In place of a run: a preset's name or a YAML file.")
    ] = None,
    assignments: Set = [],  # noqa: B006
    gpus: Annotated[
        int | None, typer.Option(help="GPUs of the training; default train.workers.")
    ] = None,
    gpu_memory_gb: Annotated[
        float | None, typer.Option(help="Memory of one GPU, in 10^9 bytes; 80 by default.")
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Tokens per second of all GPUs together.")
    ] = None,
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Write this epoch's rows; needs RUN and --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file for --epoch.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate the training's memory, steps, tokens and hours; or write one epoch's rows."""
    from qsit_ray.config.files import override
    from qsit_ray.run_config import opened

    if (epoch is None) != (out is None):
        raise InputError("--epoch and --out go together")
    if (run is None) == (preset is None):
        raise InputError("expected either a RUN or a --preset")
    if epoch is not None and out is not None:
        if run is None:
            raise InputError("--epoch needs a RUN")
        if assignments or not gpus is gpu_memory_gb is tokens_per_second is None:
            raise InputError("--epoch writes the run's own rows: it takes --out and --json alone")
        _write_epoch(run, epoch, out, as_json)
        return
    from qsit_ray.config import presets

    folder = RunFolder(run.absolute()) if run else None
    config = opened(folder) if folder else presets.resolve(preset or "")
    config = override(config, assignments)
    # DeepSpeed searches for a GPU when it is imported, and prints to stdout when there is none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with redirect_stdout(sys.stderr):
        from qsit_ray.stages.base_models import model_config
        from qsit_ray.train.estimate import estimate

        shape = model_config(config.models.primary)
        memory = 80.0 if gpu_memory_gb is None else gpu_memory_gb
        found = estimate(config, shape, folder, gpus, memory, tokens_per_second)
    if as_json:
        print_json(asdict(found))
        return
    terminal = Terminal()
    terminal.table(f"Training of {run or preset}", ["", ""], _lines(found))
    for text in found.assumptions:
        terminal.say(f"assumed: {text}")


def show(run: Run, as_json: Json = False) -> None:
    """A run's epochs: losses, the controller's decisions, and the share of time waited for data."""
    from qsit_ray.losses import symbol
    from qsit_ray.mixture import short_names
    from qsit_ray.run_config import opened
    from qsit_ray.run_files import read_epochs
    from qsit_ray.train.planned import stall_fraction

    folder = RunFolder(run.absolute())
    settings = opened(folder)
    names, tasks = short_names(settings.pools), settings.tasks
    lines = read_epochs(folder.epochs)
    stalled = stall_fraction(lines)
    if as_json:
        print_json({"epochs": [line.to_json() for line in lines], "stall_fraction": stalled})
        return
    terminal = Terminal()
    terminal.table(
        "Epochs",
        ["epoch", *names, *map(symbol, tasks), "/".join(map(symbol, tasks)), "λ", "then"],
        [
            (
                str(line.epoch),
                *(f"{rows:,}" for rows in line.sizes.values()),
                *map(_number, line.losses.values()),
                _number(line.loss_ratio),
                _number(line.reference_loss_ratio),
                line.verdict,
            )
            for line in lines
        ],
    )
    if stalled is not None:
        terminal.say(f"steps waited for their batch {100 * stalled:.1f} % of the training time")


def export(
    run: Run,
    out: Annotated[Path, typer.Option(help="The folder to create.")],
    licence: Annotated[
        str | None, typer.Option("--license", help="The model's licence, for its card.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Then upload it to the Hugging Face Hub."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Of --push: for everyone; private by default.")
    ] = False,
) -> None:
    """Write the trained primary as a Hugging Face folder with its model card, and with the scores
    of reference images for `qsit score --selftest`."""
    from qsit_ray.models import push as hub
    from qsit_ray.models.export import HERE, export
    from qsit_ray.run_config import opened

    if public and push is None:
        raise InputError("--public belongs to --push")
    folder = RunFolder(run.absolute())
    config = opened(folder)
    target = None if push is None else hub.check(push, public)
    names = export(folder, config, out, licence, _add_reference, push or HERE)
    print(f"{out}: {', '.join(names)}")
    if target is not None:
        address = hub.push(out, names, target)
        print(f"pushed to {address} ({'public' if public else 'private'})")


def _add_reference(folder: Path) -> None:
    """Scores of reference images, where this machine's memory holds the model in float32."""
    import psutil

    from qsit_ray.rating import reference

    needed, free = reference.needed_gib(folder), psutil.virtual_memory().available / 2**30
    if needed > free:
        print(
            f"no reference scores: the model needs {needed:.0f} GiB in float32, {free:.0f} are "
            "free; `qsit score --selftest` will have nothing to compare"
        )
        return
    print("Score the reference images ...", flush=True)
    reference.write(folder)


def _write_epoch(run: Path, epoch: int, out: Path, as_json: bool) -> None:
    from qsit_ray.data.catalog import read_sizes
    from qsit_ray.run_config import opened
    from qsit_ray.train import planned

    folder = RunFolder(run.absolute())
    plan = planned.plan_of(folder, opened(folder), epoch)
    planned.write_plan(plan, read_sizes(folder.catalog), out)
    if as_json:
        written = {
            "epoch": epoch,
            "rows": len(plan.rows),
            "steps": plan.steps,
            "plan_sha256": plan.sha256,
            "planned": plan.planned,
            "out": str(out),
        }
        print_json(written)
    else:
        print(f"{out}: {len(plan.rows)} rows in {plan.steps} steps, plan {plan.sha256}")


def _lines(found: Estimate) -> list[tuple[str, str]]:
    return [
        ("model", found.model),
        ("parameters", f"{found.parameters / 1e6:,.1f} M"),
        ("trained", f"{found.trainable_parameters / 1e6:,.1f} M"),
        ("GPUs", f"{found.gpus} x {found.gpu_memory_gb:g} GB"),
        ("ZeRO stage", str(found.zero_stage)),
        ("states a GPU", f"{found.state_gib_per_gpu:.1f} GiB ({found.state_from})"),
        ("activations a GPU", f"{found.activation_gib_per_gpu:.1f} GiB"),
        ("reserved a GPU", f"{found.reserved_gib_per_gpu:.1f} GiB"),
        *(
            (f"peak of {name.replace('_', ' ')}", f"{peak:.1f} GiB")
            for name, peak in found.peak_gib_per_gpu.items()
        ),
        ("host memory of export", f"{found.export_host_gib:.1f} GiB"),
        ("fits", "yes" if found.fits else "no"),
        ("largest train.micro_batch", str(found.micro_batch_that_fits)),
        ("largest evaluate.batch_tokens", f"{found.batch_tokens_that_fit:,}"),
        (
            "global batch",
            f"{found.global_batch} rows, at most {found.micro_batch} at once on a GPU",
        ),
        ("rows an epoch", f"{found.rows_per_epoch:,}"),
        ("steps an epoch", f"{found.steps_per_epoch:,}"),
        ("tokens an epoch", f"{found.tokens_per_epoch:,}"),
        ("epochs", str(found.epochs)),
        ("hours", "give --tokens-per-second" if found.hours is None else f"{found.hours:.1f}"),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
