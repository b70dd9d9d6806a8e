"""pure: the data stage: the catalog of a run, from its source of rows."""

from __future__ import annotations

from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.data import DemoData, LlavaData, RehearsalData
from qsit_ray.data import catalog
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal


def build(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Write the run's catalog. Raises InputError naming a file that can't be read."""
    inputs: dict[str, object] = {"data": config.data.model_dump(mode="json"), "seed": config.seed}
    if isinstance(config.data, LlavaData):
        inputs["files"] = {name: _sha256(name) for name in _files(config.data)}
    if run.is_complete("data", inputs):
        return
    with (
        run.stage("data", inputs),
        terminal.bar("Make the catalog") as bar,
        artifacts.atomic(run.catalog) as folder,
    ):
        folder.mkdir()
        if isinstance(config.data, DemoData):
            from qsit_ray.demo import rows

            catalog.write(folder, rows.build(folder, config.data, config.seed, bar.update))
        elif isinstance(config.data, RehearsalData):
            catalog.write_counts(folder, config.data.model_dump(exclude={"source"}))
        else:
            from qsit_ray.data import llava

            found = llava.read(config.data, config.seed, bar.update)
            artifacts.write_jsonl(folder / "rejects.jsonl", found.rejects)
            catalog.write(folder, found)
            terminal.say(f"{len(found.train)} training rows, {len(found.rejects)} rejects")


def _files(data: LlavaData) -> list[str]:
    """Every file that the catalog is built from, except images."""
    files = [*data.scoring, *data.interpreting, *data.general, data.validation_questions]
    return [*files, *data.test_images.values(), *filter(None, [data.test_questions])]


def _sha256(name: str) -> str:
    try:
        return artifacts.file_sha256(Path(name))
    except OSError as error:
        raise InputError(f"{name}: can't read it: {error}") from None
