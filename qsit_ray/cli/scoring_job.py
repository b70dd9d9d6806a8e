"""rim: `qsit score --output`: scores of many images as a job on Ray."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.printing import print_json, say
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal, quiet

if TYPE_CHECKING:
    from qsit_ray.rating.shards import Counts, Folder

KEPT = "finished shards are kept, and the same command goes on"


@dataclass(frozen=True)
class Job:
    """How a job scores: the options of the command line."""

    model: str
    profile: str | None
    precision: Literal["fp32", "bf16"] | None
    batch_tokens: int | None
    cpus: int | None
    gpus: int | None
    actors: int
    shard_images: int


def run(job: Job, images: Sequence[str], output: str, as_json: bool) -> None:
    """Score `images` into the folder `output`. Raises InputError where some have no score."""
    from qsit_ray.models import profiles
    from qsit_ray.models.hub import folder_of
    from qsit_ray.models.weights import check_weights, read_config
    from qsit_ray.rating.pictures import is_address
    from qsit_ray.rating.shards import Folder

    profile = profiles.chosen(job.profile, job.model).name  # by its name: the Hub may be asked
    model = folder_of(job.model).absolute()
    check_weights(model, read_config(model))
    # Absolute: an actor works in another folder.
    listed = [each if is_address(each) else str(Path(each).absolute()) for each in images]
    folder = Folder(artifacts.path_of(output))
    with _held(folder.path), _logged(folder.path) as terminal:
        found = _scored(job, str(model), profile, listed, folder, terminal)
    if as_json:
        print_json(asdict(found))
    else:
        say(f"{output}: {found.scores} of {len(listed)} images have a score")
    if found.rejects:
        again = f", {found.transient} of them may succeed when run again" if found.transient else ""
        raise InputError(
            f"{found.rejects} of {len(listed)} images are rejected{again}; see {folder.rejects}"
        )


def _scored(
    job: Job,
    model: str,
    profile: str,
    images: Sequence[str],
    folder: Folder,
    terminal: Terminal,
) -> Counts:
    from qsit_ray.placement import Request
    from qsit_ray.rating import job as scoring
    from qsit_ray.session import cores, on_cluster, session

    cpus = job.cpus or (4 if on_cluster() else min(4, cores()))
    needed = {"CPU": float(cpus)} | ({"GPU": 1.0} if job.gpus else {})
    settings = {"CPU": "--cpus", "GPU": "--gpus"}
    asked = [Request("an actor", settings, needed, {})]
    with session(1, requests=asked, say=terminal.say) as dashboard:
        import ray

        there = ray.cluster_resources().get("GPU", 0.0) > 0
        gpu = there if job.gpus is None else job.gpus > 0
        resources = {"CPU": float(cpus)} | ({"GPU": 1.0} if gpu else {})
        request = Request("an actor", settings, resources, {})
        precision = scoring.precision_of(folder, job.precision, gpu)
        terminal.say(f"Hashing {model} ...")
        plan = scoring.plan_of(images, model, profile, precision, job.shard_images)
        folder.begin(images, plan)
        terminal.say(f"dashboard: http://{dashboard}")
        with terminal.bar("Score images") as bar:
            return scoring.run(folder, plan, request, job.actors, job.batch_tokens, bar.update)


@contextmanager
def _logged(path: Path) -> Iterator[Terminal]:
    """The user's terminal; libraries' output goes to a log. A failure names it, with status 1."""
    if isinstance(path, Path):
        log = path / "qsit.log"
    else:
        log = Path(tempfile.gettempdir()) / f"qsit-score-{os.getpid()}.log"
    try:
        with quiet(log, stdout=False) as terminal:
            try:
                yield terminal
            except Exception:
                traceback.print_exc()
                raise
    except InputError:
        raise
    except KeyboardInterrupt:
        print(f"qsit: stopped; {KEPT}", file=sys.stderr)
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        print(
            f"qsit: failed: {type(error).__name__}: {reason[-1] if reason else ''}\n"
            f"qsit: {KEPT}; the log is {log}",
            file=sys.stderr,
        )
        raise typer.Exit(1) from error


def _held(path: Path) -> AbstractContextManager[None]:
    """A folder of a disk is held, so that no two jobs write it."""
    return RunFolder(path).lock() if isinstance(path, Path) else nullcontext()
