"""pure: the data stage: rows and images into the run's catalog."""

from __future__ import annotations

from typing import Any

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import Config, DemoData
from qsit_ray.data import catalog
from qsit_ray.terminal import Terminal


def build(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Write the catalog of the run's data source."""
    inputs: dict[str, Any] = {"data": config.data.model_dump(mode="json"), "seed": config.seed}
    if run.stands("data", inputs):
        return
    with (
        run.stage("data", inputs),
        terminal.bar("Make the catalog") as bar,
        artifacts.atomic(run.catalog) as folder,
    ):
        folder.mkdir()
        if isinstance(config.data, DemoData):
            from qsit_ray.data import demo

            sizes = demo.DemoSizes(**config.data.model_dump(exclude={"source"}))
            made = demo.build(folder, sizes, config.seed, bar.update)
            catalog.write(folder, made.train, made.validation, made.iqa, made.questions)
        else:
            from qsit_ray.data import llava

            rows = llava.read(config.data, config.seed, bar.update)
            artifacts.write_jsonl(folder / "rejects.jsonl", rows.rejects)
            catalog.write(folder, rows.train, rows.validation, rows.images, rows.questions)
            terminal.say(f"{len(rows.train)} training rows, {len(rows.rejects)} rejects")
