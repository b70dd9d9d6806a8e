"""rim: scores of many images on a cluster, by a pool of actors, into a folder that a killed job
goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.config.prompts import OWN
from qsit_ray.errors import InputError
from qsit_ray.placement import Request
from qsit_ray.pool import on_actors
from qsit_ray.rating.pictures import name_of
from qsit_ray.rating.results import Precision
from qsit_ray.rating.shards import Counts, Folder, Plan


def plan_of(
    images: Sequence[str], model: str, profile: str, precision: Precision, shard_images: int
) -> Plan:
    """What the job's scores depend on; of the model each file's SHA-256. Raises InputError for a
    name that is no text."""
    listed = hashlib.sha256()
    for image in images:
        try:
            listed.update(f"{image}\n".encode())
        except UnicodeEncodeError:
            raise InputError(f"{name_of(image, 0)}: a name that is no text; rename it") from None
    folder = Path(model)
    files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors"))
    known = [(path.name, artifacts.file_sha256(path)) for path in files]
    return Plan(
        images=len(images),
        shard_images=shard_images,
        sha256=listed.hexdigest(),
        model=model,
        weights=artifacts.digest(known),
        profile=profile,
        precision=precision,
    )


def precision_of(folder: Folder, asked: Precision | None, gpu: bool) -> Precision:
    """The precision that is asked for, else that of the folder's beginning, else the device's."""
    begun = folder.begun
    return asked or (begun.precision if begun else "bf16" if gpu else "fp32")


def run(
    folder: Folder,
    plan: Plan,
    request: Request,
    most: int,
    batch_tokens: int | None,
    progress: Callable[[int, int], None],
) -> Counts:
    """Score the shards that are missing, within a Ray session; `progress` is told the images done
    and all. Raises InputError where the model can't be loaded."""
    missing = folder.missing(plan)
    done = plan.images - sum(_size(plan, number) for number in missing)
    progress(done, plan.images)
    if missing:
        gpu = request.resources.get("GPU", 0.0) > 0
        threads = max(1, int(request.resources["CPU"]) - 1)  # beside the one that computes
        given = {
            "folder": folder,
            "plan": plan,
            "gpu": gpu,
            "batch_tokens": batch_tokens,
            "threads": threads,
        }
        for result in on_actors(Scorer, given, [{"shard": n} for n in missing], request, most):
            done += _size(plan, result["shard"])
            progress(done, plan.images)
    return folder.end(plan)


def _size(plan: Plan, number: int) -> int:
    return min(plan.shard_images, plan.images - number * plan.shard_images)


class Scorer:
    """An actor that scores one shard after another and writes each."""

    def __init__(
        self, folder: Folder, plan: Plan, gpu: bool, batch_tokens: int | None, threads: int
    ):
        from qsit_ray.rating.rater import Rater  # here: in the actor only

        device = "cuda" if gpu else "cpu"
        self._folder = folder
        self._rater: Rater = Rater.load(
            plan.model,
            None if plan.profile == OWN else plan.profile,  # the folder has it
            device,
            plan.precision,
            batch_tokens,
            threads,
        )

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        number, rater = int(item["shard"]), self._rater
        found = list(rater.scores(self._folder.listed(number)))
        self._folder.write(number, found, rater.profile.words, rater.conditions)
        return {"shard": number}
