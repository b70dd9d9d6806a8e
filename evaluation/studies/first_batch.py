"""rim: the time to the first batch of an epoch, with a stand-in for the encoding.

The Dataset is the trainer's own, `qsit_ray.data.source.plan_dataset`; the catalog has row counts,
texts of one word and drawn token counts. The first execution is of a short epoch and also starts
Ray's processes, as the first epoch of a training does; the second is like every later epoch.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import qsit_ray.environment  # noqa: F401  (before anything imports Ray)
from qsit_ray.artifacts import RunFolder
from qsit_ray.data.catalog import CatalogRow, Content
from qsit_ray.data.micro_batches import Bounds
from qsit_ray.data.source import NAMESPACE, DataRow, Layout, plan_dataset
from qsit_ray.data.tokens import RowTokens, write_tokens
from qsit_ray.data.writing import write as write_catalog
from qsit_ray.evaluation.studies.processes import Samples
from qsit_ray.mixture import DOMAINS, Mixture
from qsit_ray.train.state import Course, Position

COURSE = "course-of-the-study"
Span = tuple[float, float]
RANKS, BATCH = 2, 48
LONG = 600.0
"""Seconds in which every rank must have its first batch."""
KINDS = np.array([(7_370, 31), (4_780, 7), (3_200, 5)])  # tokens and tiles of an image


def run_of(folder: Path, rows: int) -> RunFolder:
    """A run folder with a catalog of `rows` rows, a third of each domain, and token counts."""
    run = RunFolder(folder)
    run.catalog.mkdir()
    content: list[CatalogRow] = [
        {
            "id": str(number),
            "domain": domain,
            "images": [],
            "conversation": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}],
            "mos": None,
            "level": None,
            "photograph": None,
            "dataset": "",
        }
        for domain in DOMAINS
        for number in range(rows // len(DOMAINS))
    ]
    write_catalog(run.catalog, Content(content))
    tokens, tiles = KINDS[np.random.default_rng(0).integers(0, len(KINDS), len(content))].T
    run.tokens("primary").parent.mkdir()
    write_tokens(run.tokens("primary"), RowTokens(tokens, tiles))
    return run


def stand_in(row: DataRow) -> DataRow:
    """A micro-batch of 1 MB after 50 ms, with its process and when that began and ended."""
    span = [time.time()]
    time.sleep(0.05)
    span.append(time.time())
    return {**row, "batch": bytes(10**6), "process": os.getpid(), "span": np.array(span)}


@dataclass(frozen=True)
class Execution:
    """Batches of the epoch, seconds until every rank had its first one, batches a second after it,
    the processes that encoded, the seconds from the end of a batch's stand-in to the start of the
    next in a process (median and 95th percentile), and the CPU seconds a batch after the first,
    {kind of process: seconds}."""

    blocks: int
    first: float
    rate: float
    processes: int
    gaps: tuple[float, float]
    cpu: dict[str, float]


def _read(
    batches: Iterator[Any],
    count: int | None,
    times: list[float],
    spans: dict[int, list[Span]],
    first: threading.Barrier,
) -> None:
    for batch in batches:
        times.append(time.monotonic())
        spans[int(batch["process"][0])].append(tuple(batch["span"][0]))
        if len(times) == 1:
            first.wait()
        if len(times) == count:
            return


def _gaps(spans: Iterable[list[Span]]) -> tuple[float, float]:
    apart = [begin - end for each in spans for (_, end), (begin, _) in pairwise(sorted(each))]
    median, most = np.quantile(apart, [0.5, 0.95])
    return float(median), float(most)


def _sample(samples: Samples) -> None:
    """Of this process and of those of its Ray session, by kind."""
    samples.take()
    samples.used[-1]["driver, which reads"] = time.process_time()


def measure(run: RunFolder, micro_batches: int, read: int) -> list[Execution]:
    """Two executions of the Dataset: of an epoch of about `read` batches a rank, which is read to
    its end as in a training, and of one of `micro_batches`, of which a rank reads `read`."""
    import ray

    layout = Layout(run, 0, BATCH, Bounds(1))
    course = ray.remote(num_cpus=0)(Course).options(name=COURSE, namespace=NAMESPACE).remote()
    epochs = ((RANKS * read, None), (micro_batches, read))
    positions = [
        Position(epoch, 0, Mixture(dict.fromkeys(DOMAINS, size // len(DOMAINS))), RANKS)
        for epoch, (size, _) in enumerate(epochs)
    ]
    ray.get(course.move_to.remote(positions[0]))
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    iterators = plan_dataset(COURSE, layout, stand_in).streaming_split(RANKS, equal=True)
    found = []
    for position, (_, count) in zip(positions, epochs, strict=True):
        ray.get(course.move_to.remote(position))
        times: list[list[float]] = [[] for _ in range(RANKS)]
        spans: dict[int, list[Span]] = defaultdict(list)
        samples = Samples()
        barrier = threading.Barrier(RANKS, partial(_sample, samples), timeout=LONG)
        began = time.monotonic()
        threads = [
            threading.Thread(
                target=_read,
                args=(
                    iter(iterators[rank].iter_batches(batch_size=1, prefetch_batches=8)),
                    count,
                    times[rank],
                    spans,
                    barrier,
                ),
            )
            for rank in range(RANKS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first, last = (max(each[place] for each in times) - began for place in (0, -1))
        batches = sum(len(each) - 1 for each in times)
        _sample(samples)
        before, after = samples.used
        cpu = {kind: (used - before.get(kind, 0.0)) / batches for kind, used in after.items()}
        rate = batches / (last - first)
        blocks = position.mixture.total
        found.append(Execution(blocks, first, rate, len(spans), _gaps(spans.values()), cpu))
    return found


def measured(micro_batches: int, read: int, cpus: int) -> list[Execution]:
    """Measure in a Ray session of its own, with so many CPUs."""
    import ray

    with tempfile.TemporaryDirectory() as folder:
        run = run_of(Path(folder), micro_batches)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        found = measure(run, micro_batches, read)
        ray.shutdown()
    return found


def write(micro_batches: int, read: int, cpus: int) -> None:
    """Measure, and print a line for each execution."""
    found = measured(micro_batches, read, cpus)
    for name, each in zip(("first", "second"), found, strict=True):
        median, most = (f"{1000 * gap:.0f} ms" for gap in each.gaps)
        cpu = ", ".join(f"{kind} {1000 * seconds:.1f} ms" for kind, seconds in each.cpu.items())
        print(
            f"{name} execution: first of {each.blocks:,} batches after {each.first:.1f} s, then "
            f"{each.rate:.0f} a second from {each.processes} processes, {median} between two of "
            f"one (95th percentile {most}); CPU of a batch: {cpu}"
        )
