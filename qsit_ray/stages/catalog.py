"""rim: the data stage: the catalog of a run, from its source of rows."""

from __future__ import annotations

from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.data import DemoData, LlavaData, PoolsData, RehearsalData
from qsit_ray.config.prompts import Prompts
from qsit_ray.data import catalog, llava_next, writing
from qsit_ray.data.catalog import Catalog, CatalogRow
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

CHUNK = 4096
"""Rows that are looked at at a time."""


def build(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Write the run's catalog.

    Raises InputError naming a file that can't be read, a package of the demo's that is missing, or
    the domain without a row, whose rejects are then in the run folder; and a scoring row that
    `levels` can't be trained on.
    """
    _make(run, config, terminal)
    if config.levels.need_shares and not isinstance(config.data, RehearsalData):
        _check_levels(catalog.open_catalog(run.catalog), config.prompts)


def _make(run: RunFolder, config: Config, terminal: Terminal) -> None:
    inputs: dict[str, object] = {
        "data": config.data.model_dump(mode="json"),
        "seed": config.seed,
        "columns": catalog.SCHEMA.names,
        **config.prompts.inputs,
    }
    if isinstance(config.data, PoolsData):
        # The rows that are held out, and the order of the pools, which a digest does not tell.
        inputs |= {"tasks": list(config.tasks), "pools": list(config.pools)}
    if isinstance(config.data, LlavaData | PoolsData):
        inputs["files"] = {name: _sha256(name) for name in _files(config.data)}
    if run.is_complete("data", inputs):
        if isinstance(config.data, LlavaData | PoolsData) and not config.data.is_packed:
            _find_images(run.catalog, Path(config.data.images).absolute())
        return
    if isinstance(config.data, DemoData):
        from qsit_ray.demo import photographs

        photographs.check_installed()
    artifacts.remove(run.rejects)
    with (
        run.stage("data", inputs),
        terminal.bar("Make the catalog") as bar,
        artifacts.atomic(run.catalog) as folder,
    ):
        folder.mkdir()
        if isinstance(config.data, DemoData):
            from qsit_ray.demo import rows

            profile = config.prompts.profile
            made = rows.build(folder, config.data, config.seed, bar.update, profile=profile)
            writing.write(folder, made)
        elif isinstance(config.data, RehearsalData):
            writing.write_counts(folder, config.data.model_dump(exclude={"source"}))
        else:
            from qsit_ray.stages import own_data

            told = own_data.build(run, config.data, config, folder, bar.update)
            for line in told:
                terminal.say(line)


def _find_images(folder: Path, root: Path) -> None:
    """Let a finished catalog's images/ lead to them again where the run folder has moved without
    them. Raises InputError where they are neither there nor at `root`."""
    paths = catalog.image_paths(catalog.open_catalog(folder).rows)
    image = paths[0].as_py() if len(paths) else None

    def found() -> bool:
        return image is None or (folder / image).exists()

    if found():
        return
    writing.link_images(folder, root)
    if not found():
        raise InputError(
            f"{root}: the images have gone, such as {image}; move them back, or correct data.images"
        )


def _check_levels(opened: Catalog, prompts: Prompts) -> None:
    """Raises InputError for a scoring row without the opinions that its training needs, or whose
    level word is not where images are scored: also where the catalog was made for other levels."""
    count = opened.sizes["scoring"]
    lacking, words = [], []
    for start in range(0, count, CHUNK):
        rows = opened.take(range(start, min(start + CHUNK, count)))
        lacking += [row["id"] for row in rows if row["level_shares"] is None]
        words += [row["id"] for row in rows if not _is_plain(row, prompts)]
    if lacking:
        raise InputError(
            f"levels: {len(lacking):,} of {count:,} scoring records have no level_probs, such as "
            f"{lacking[0]}; qsit data import writes them where votes or deviations are known"
        )
    if words:
        raise InputError(
            f"levels: {len(words):,} of {count:,} scoring records do not end with "
            f'"{prompts.stem} <level>." as their one level word, such as {words[0]}'
        )


def _is_plain(row: CatalogRow, prompts: Prompts) -> bool:
    """Whether the level word is found in the answer as it is where images are scored."""
    answers = [turn["value"] for turn in row["conversation"][1::2]]
    others = " ".join(answers[:-1])
    return answers[-1].strip() == f"{prompts.stem} {row['level']}." and not any(
        word in others for word in prompts.levels
    )


def _files(data: LlavaData | PoolsData) -> list[str]:
    """Every file that the catalog is built from, except images."""
    files = []
    if isinstance(data, LlavaData):
        questions = [data.validation_questions, data.test_questions]
        files = [*filter(None, questions), *data.test_images.values()]
    for name in (name for names in data.files.values() for name in names):
        files.append(name)
        if Path(name).suffix.lower() in llava_next.ENDINGS:
            files += [str(part.file) for part in llava_next.parts(artifacts.path_of(name))]
    return files


def _sha256(name: str) -> str:
    try:
        return artifacts.file_sha256(artifacts.path_of(name))
    except OSError as error:
        raise InputError(f"{name}: can't read it: {error}") from None
