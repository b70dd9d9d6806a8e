"""rim: the catalog of one's own data: its files, its images, its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder, path_of
from qsit_ray.config.config import Config
from qsit_ray.config.data import LlavaData, PoolsData
from qsit_ray.data import checks, pack, writing
from qsit_ray.data.audit import leaks
from qsit_ray.data.catalog import IMAGES
from qsit_ray.data.drafts import drafts_of
from qsit_ray.data.pools import Pools, pools_of
from qsit_ray.data.sizing import sizes_of
from qsit_ray.prompts import PAPER, Profile


def build(
    run: RunFolder,
    data: LlavaData | PoolsData,
    config: Config,
    folder: Path,
    report: Callable[[int, int, str], None],
) -> list[str]:
    """Write the catalog of `data`, of the configuration, into `folder`, and return what is to be
    said of it.

    Raises InputError as `read` does, and where a domain has no training row, or lost too many of
    its records: all rejects are then in the run folder; and where a task can't be validated.
    """
    # Not within the folder, which a failed build leaves nothing of: the next one goes on packing.
    packed = run.packing if data.is_packed else None
    drafts = run.path / ".drafts.arrow"
    try:
        profile = config.prompts.profile
        found = read(data, config.tasks, config.seed, drafts, report, packed, profile)
        checks.check_domains(found, data.images, run.rejects)
        checks.check_rejects(found, data.max_rejects, run.rejects)
        if isinstance(data, LlavaData):
            noted = [checks.check_validation(found), *checks.wording(found)]
        else:
            noted = [checks.check_tasks(found, config.tasks)]
        artifacts.write_jsonl(folder / "rejects.jsonl", found.rejects)
        found.write(folder)
        if packed is None:
            writing.link_images(folder, Path(data.images))
        else:
            pack.move(packed, folder / IMAGES)
        told = checks.summary(found, run.catalog / "rejects.jsonl")
        return [*told, *noted]
    finally:
        artifacts.remove(drafts)


def read(
    data: LlavaData | PoolsData,
    tasks: Sequence[str],
    seed: int,
    scratch: Path,
    report: Callable[[int, int, str], None],
    packed: Path | None = None,
    profile: Profile = PAPER,
) -> Pools:
    """The pools of all files of `data`, their drafts in the file `scratch`. `profile`: how scores
    and questions are asked.

    Each image is decoded once: a training record whose image is missing or broken is a reject.
    `report` gets what is done, out of how many, and of what. `packed`: the folder to pack images
    into. Image paths are relative to the catalog, whose images/ leads to `data.images`, or is the
    pack.

    Raises InputError naming a file that can't be read, and the row of a question or test image that
    can't be used: evaluation sets are never reduced.
    """
    root = path_of(data.images)
    drafts = drafts_of(data, seed, scratch, report, profile.words)
    sizes = sizes_of(
        [*drafts.images, *drafts.evaluation_images],
        root,
        lambda done, total: report(done, total, "images"),
        data.outside == "allow",
        packed,
    )
    for each in drafts.evaluated:
        each.check(sizes)
    leaked: dict[str, str] = {}
    if data.leaks == "drop":
        leaked = leaks(
            packed or root,
            [name for name in drafts.images if name not in sizes.errors],
            drafts.evaluation_images,
            lambda done, total: report(done, total, "images compared"),
        )
    return pools_of(drafts, sizes, leaked, root, data, tasks, seed, profile)
