"""rim: a catalog of ever more rows: CPU time in which it is built, opened, read and planned, and
the memory that this takes.

Each size is built in a process of its own, from records with about the texts of Q-Instruct's, a
third of them D1's. Writes the section `catalog-size` of docs/PERFORMANCE.md.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from qsit_ray.config.data import LlavaData
from qsit_ray.data.catalog import open_catalog
from qsit_ray.evaluation.studies.sections import Page, table, write_section
from qsit_ray.levels import LEVELS
from qsit_ray.mixture import DOMAINS, Mixture, plan_epoch
from qsit_ray.prompts import LEVEL_STEM, SCORING_QUESTION
from qsit_ray.stages.own_data import read

IMAGES = 1000
TAKEN = 1000
ANSWER = (
    "The main subject is in focus and its colours look natural, while the background is blurred "
    "and the dark regions show noise, so that fine texture is lost there. "
)


@dataclass(frozen=True)
class Built:
    """CPU seconds of each step, bytes of the files of records, the most memory of the process, and
    the page faults of `take`."""

    rows: int
    size: int
    build: float
    opening: float
    take: float
    plan: float
    memory: int
    faults: int


def records(domain: str, count: int) -> Iterator[dict[str, Any]]:
    """Records of a domain in LLaVA's shape."""
    for number in range(count):
        image = f"{number % IMAGES}.png"
        if domain == "scoring":
            mos = number * 37 % 1000 / 10
            question, answer = SCORING_QUESTION, f"{LEVEL_STEM} {LEVELS[int(mos) // 20]}."
            identity = f"{image}->{mos}"
        else:
            question, answer = f"<image>\nWhat is seen in {number}?", f"{4 * ANSWER}{number}"
            identity = str(number)
        yield {
            "id": identity,
            "image": image,
            "conversations": [
                {"from": "human", "value": question},
                {"from": "gpt", "value": answer},
            ],
        }


def measured(rows: int) -> Built:
    """Build a catalog of so many records and use it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = _write_files(folder, rows)
        files = [folder / f"{domain}.json" for domain in DOMAINS]
        catalog = folder / "catalog"
        catalog.mkdir()
        clock = [time.process_time()]
        read(data, DOMAINS[:2], 0, folder / "drafts.arrow", lambda *_: None).write(catalog)
        clock.append(time.process_time())
        opened = open_catalog(catalog)
        clock.append(time.process_time())
        wanted = np.random.default_rng(0).integers(0, len(opened.rows), TAKEN)
        before = resource.getrusage(resource.RUSAGE_SELF)
        assert len(opened.take(wanted)) == TAKEN
        after = resource.getrusage(resource.RUSAGE_SELF)
        clock.append(time.process_time())
        plan_epoch(Mixture(opened.sizes), opened.sizes, 0, 0, 64)
        clock.append(time.process_time())
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = sum(file.stat().st_size for file in files)
        build, opening, take, plan = np.diff(clock).tolist()
        faults = after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt
        return Built(rows, size, build, opening, take, plan, memory, faults)


def _write_files(folder: Path, rows: int) -> LlavaData:
    (folder / "images").mkdir()
    for number in range(IMAGES):
        Image.new("L", (8, 8), number % 256).save(folder / "images" / f"{number}.png")
    for domain in DOMAINS:
        with (folder / f"{domain}.json").open("w") as out:
            for number, record in enumerate(records(domain, rows // len(DOMAINS))):
                out.write(("," if number else "[") + json.dumps(record))
            out.write("]")
    question = {"question": "?", "img_path": "0.png", "candidates": ["a", "b"], "correct_ans": "a"}
    (folder / "questions.json").write_text(json.dumps([question]))
    return LlavaData(
        images=str(folder / "images"),
        scoring=(str(folder / "scoring.json"),),
        interpreting=(str(folder / "interpreting.json"),),
        general=(str(folder / "general.json"),),
        validation_questions=str(folder / "questions.json"),
    )


def write(
    out: Page = Path("docs/PERFORMANCE.md"),
    rows: Annotated[list[int], typer.Option(min=300)] = [100_000, 1_000_000, 10_000_000],  # noqa: B006
) -> None:
    """Catalogs of so many rows: CPU seconds and memory."""
    context = multiprocessing.get_context("spawn")
    found = []
    for count in rows:
        with ProcessPoolExecutor(1, context) as process:  # its own: memory is a process's most
            found.append(process.submit(measured, count).result())
    taken = f"take {TAKEN:,}"
    columns = (
        "rows",
        "records",
        "build",
        "rows/s",
        "memory",
        "open",
        taken,
        "page faults",
        "plan",
    )
    lines = [
        (
            f"{each.rows:,}",
            f"{each.size / 1e9:.2f} GB",
            f"{each.build:.0f} s",
            f"{each.rows / each.build:,.0f}",
            f"{each.memory / 2**30:.2f} GiB",
            f"{1000 * each.opening:.0f} ms",
            f"{1000 * each.take:.0f} ms",
            f"{each.faults:,}",
            f"{each.plan:.2f} s",
        )
        for each in found
    ]
    options = "".join(f" --rows {count}" for count in rows)
    command = (
        f"By `python -m evaluation.studies catalog-size --out {out}{options}`, in CPU seconds:"
    )
    write_section(out, "catalog-size", command, table(columns, lines))
