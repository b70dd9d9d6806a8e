"""rim: `qsit score --output`: scores of many images as a job on Ray."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.printing import print_json, say
from qsit_ray.errors import InputError
from qsit_ray.placement import Request
from qsit_ray.terminal import Terminal


@dataclass(frozen=True)
class Job:
    """How a job scores: the options of the command line."""

    model: str
    profile: str
    precision: Literal["fp32", "bf16"] | None
    batch_tokens: int | None
    cpus: int | None
    actors: int
    shard_images: int


def run(job: Job, images: Sequence[str], output: str, as_json: bool) -> None:
    """Score `images` into the folder `output`. Raises InputError where some have no score."""
    from qsit_ray.models.hub import folder_of
    from qsit_ray.models.weights import check_weights, read_config
    from qsit_ray.rating.pictures import is_address
    from qsit_ray.rating.shards import Folder
    from qsit_ray.session import cores, on_cluster, session

    model = folder_of(job.model).absolute()
    check_weights(model, read_config(model))
    # Absolute: an actor works in another folder.
    listed = [each if is_address(each) else str(Path(each).absolute()) for each in images]
    folder = Folder(artifacts.path_of(output))
    terminal = Terminal(Console(stderr=True))
    with _held(folder.path), session(1) as dashboard:
        import ray

        from qsit_ray.rating import job as scoring

        gpu = ray.cluster_resources().get("GPU", 0.0) > 0
        cpus = job.cpus or min(4, 4 if on_cluster() else cores())
        resources = {"CPU": float(cpus)} | ({"GPU": 1.0} if gpu else {})
        request = Request("an actor", {"CPU": "--cpus"}, resources, {})
        plan = scoring.plan_of(
            listed, str(model), job.profile, job.precision or ("bf16" if gpu else "fp32"),
            job.shard_images,
        )  # fmt: skip
        folder.begin(listed, plan)
        terminal.say(f"dashboard: http://{dashboard}")
        with terminal.bar("Score images") as bar:
            found = scoring.run(folder, plan, request, job.actors, job.batch_tokens, bar.update)
    if as_json:
        print_json(asdict(found))
    else:
        say(f"{output}: {found.scores} of {len(listed)} images have a score")
    if found.rejects:
        again = f", {found.transient} of them may succeed when run again" if found.transient else ""
        raise InputError(
            f"{found.rejects} of {len(listed)} images are rejected{again}; see {folder.rejects}"
        )


def _held(path: Path) -> AbstractContextManager[None]:
    """A folder of a disk is held, so that no two jobs write it."""
    return RunFolder(path).lock() if isinstance(path, Path) else nullcontext()
