"""pure: the pools of a run, from its drafts and the sizes of their images: every record is a row or
a reject, and a catalog of any size is written in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qsit_ray.config.data import LlavaData, PoolsData
from qsit_ray.data import benchmarks, llava
from qsit_ray.data.audit import LEAK
from qsit_ray.data.catalog import IMAGES, SCHEMA, BenchmarkImage, CatalogRow, Reject, image_path
from qsit_ray.data.drafts import Drafts
from qsit_ray.data.held_out import TaskRows, first_of_each, held_out
from qsit_ray.data.sizes import Sizes
from qsit_ray.data.writing import UNNUMBERED, Writer, batches
from qsit_ray.prompts import Profile

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Pools:
    """What the files of a run hold.

    `names`: of the pools, in order. `drafts`: in the order of their files, pool after pool.
    `places`: of every image of theirs, in `sizes`. `kept`, `held_out`: whether a draft is a
    training row, or validates a task; a draft that is neither is among the `rejects`. `profile`:
    how scores and questions are asked.
    """

    names: tuple[str, ...]
    drafts: pa.Table
    sizes: Sizes
    places: NDArray[np.int32]
    kept: Flags
    held_out: Flags
    rejects: list[Reject]
    asked: dict[str, benchmarks.Benchmark[Any]]
    tested: list[BenchmarkImage]
    profile: Profile

    @cached_property
    def rows(self) -> dict[str, int]:
        """Training rows of each domain."""
        return self._count(self.kept)

    @cached_property
    def records(self) -> dict[str, int]:
        """Records of each domain that are a row, in training or in validation."""
        return self._count(self.kept | self.held_out)

    @cached_property
    def held_out_rows(self) -> dict[str, int]:
        """Rows of each pool that validate."""
        return self._count(self.held_out)

    def _count(self, chosen: Flags) -> dict[str, int]:
        counted = pc.value_counts(self.drafts["domain"].filter(pa.array(chosen))).to_pylist()
        of = {each["values"]: each["counts"] for each in counted}
        return {pool: of.get(pool, 0) for pool in self.names}

    def drafted(self, domain: str, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
        """Columns of a domain's training rows, batch by batch; `images` are names."""
        chosen = pc.equal(self.drafts["domain"], domain).to_numpy() & self.kept
        start = 0
        for batch in self.drafts.select(columns).to_batches():
            yield batch.filter(pa.array(chosen[start : start + len(batch)])).to_pylist()
            start += len(batch)

    @cached_property
    def validation_images(self) -> list[BenchmarkImage]:
        """The images of the scoring rows that are held out, each once."""
        chosen = pa.array(self.held_out)
        names = self.drafts["images"].filter(chosen)
        first = pa.array(first_of_each(pc.list_flatten(names)))
        shown = pc.list_flatten(names).take(first).to_pylist()
        columns = ("mos", "photograph", "dataset")
        of = self.drafts.select(columns).filter(chosen).take(first).to_pylist()
        return [
            {
                "image": image_path(name),
                "mos": each["mos"],
                "photograph": each["photograph"],
                "dataset": each["dataset"],
            }
            for name, each in zip(shown, of, strict=True)
        ]

    def write(self, folder: Path) -> None:
        """Write the catalog into `folder`."""
        with Writer(folder, self.names) as writer:
            for domain, rows in self.training():
                writer.train(domain, rows)
            for rows in self.validating():
                writer.validation(rows)
            if self.asked:
                images = self.validation_images
                writer.benchmark("validation", images, self.asked["validation"].rows)
                writer.benchmark("test", self.tested, self.asked["test"].rows)

    def training(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The training rows without their number, domain after domain, batch by batch."""
        return self._completed(self.kept)

    def validating(self) -> Iterator[pa.RecordBatch]:
        """The rows of the validation losses: rows that are held out, and questions with their
        answers."""
        yield from (rows for _, rows in self._completed(self.held_out))
        if self.asked:
            yield from batches([self._answered(each) for each in self.asked["validation"].rows])

    def _completed(self, chosen: Flags) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The chosen drafts as rows, batch by batch, each of one domain."""
        start = image = 0
        for batch in self.drafts.to_batches():
            end, shown = start + len(batch), len(pc.list_flatten(batch["images"]))
            places = self.places[image : image + shown]
            rows = self._with_sizes(batch, places).filter(pa.array(chosen[start:end]))
            start, image = end, image + shown
            for domain in self.names:
                of = rows.filter(pc.equal(rows["domain"], domain))
                if len(of):
                    yield domain, of

    def _with_sizes(self, batch: pa.RecordBatch, places: NDArray[np.int32]) -> pa.RecordBatch:
        names = pc.list_flatten(batch["images"])
        below = pc.replace_substring_regex(names, "^", f"{IMAGES}/")
        ends = np.cumsum(pc.list_value_length(batch["images"]).to_numpy())
        pixels = [self.sizes.height[places], self.sizes.width[places]]
        images = pa.LargeListArray.from_arrays(
            pa.array(np.concatenate([[0], ends]), pa.int64()),
            pa.StructArray.from_arrays(
                [
                    pc.if_else(pc.starts_with(names, "/"), names, below),
                    *(pa.array(each, pa.int64()) for each in pixels),
                ],
                fields=list(SCHEMA.field("images").type.value_type),
            ),
        )
        columns = [images if name == "images" else batch[name] for name in UNNUMBERED.names]
        return pa.RecordBatch.from_arrays(columns, schema=UNNUMBERED)

    def _answered(self, question: Any) -> CatalogRow:
        row = llava.answered(question, self.profile.choice)
        place = self.sizes.places(pa.chunked_array([[question["photograph"]]], pa.large_string()))[
            0
        ]
        height, width = int(self.sizes.height[place]), int(self.sizes.width[place])
        row["images"] = [{"path": question["img_path"], "height": height, "width": width}]
        return row


def pools_of(
    drafts: Drafts,
    sizes: Sizes,
    leaked: Mapping[str, str],
    root: Path,
    data: LlavaData | PoolsData,
    tasks: Sequence[str],
    seed: int,
    profile: Profile,
) -> Pools:
    """The pools of the drafts. `leaked`: images of evaluation sets, which drop their records, and
    how each was found.

    `validation_share` of the scoring images is drawn by `seed` for validation (paper IV-A: 10 % of
    D1), the same share of each data set and level; interpreting is validated on the questions with
    answers. Where there are no such questions each of the `tasks` has rows held out.
    """
    table, rejects = drafts.table, dict(drafts.rejects)
    wrong = {name: _reason(name, error, root) for name, error in sizes.errors.items()}
    wrong |= {name: f"{LEAK}: {name} ({how})" for name, how in leaked.items()}
    shown = pc.list_flatten(table["images"])
    kept = _without(table, shown, wrong, rejects)
    validating = np.zeros(len(table), np.bool_)
    for task in tasks[:1] if drafts.asked else tasks:
        of_task = pc.equal(table["domain"], task).to_numpy() & kept
        validating[of_task] = _validating(table, of_task, data.validation_share, seed)
    return Pools(
        names=tuple(data.files),
        drafts=table,
        sizes=sizes,
        places=sizes.places(shown),
        kept=kept & ~validating,
        held_out=validating,
        rejects=[rejects[place] for place in sorted(rejects)],
        asked=drafts.asked,
        tested=[row for each in drafts.tested for row in each.rows],
        profile=profile,
    )


def _reason(name: str, error: str, root: Path) -> str:
    """Why an image can't be used, by its name in the record: rejects, too, do not depend on where
    the images are."""
    reason = error.removeprefix(f"{root / name}: ").replace(f"{root}/", "")
    kind, bracket, detail = reason.partition(" (")
    return f"{kind}: {name}{bracket}{detail}"


def _without(
    drafts: pa.Table,
    shown: pa.ChunkedArray,
    wrong: Mapping[str, str],
    rejects: dict[int, Reject],
) -> Flags:
    """Which drafts have none of the `wrong` images; the others are added to `rejects`, by their
    place, with the reason of their first wrong one."""
    kept = np.ones(len(drafts), np.bool_)
    counts = pc.list_value_length(drafts["images"]).to_numpy()
    hits = pc.is_in(shown, value_set=pa.array(list(wrong), pa.large_string())).to_numpy()
    rows, first = np.unique(np.repeat(np.arange(len(drafts)), counts)[hits], return_index=True)
    kept[rows] = False
    names = shown.filter(pa.array(hits)).take(pa.array(first)).to_pylist()
    columns = ["place", "file", "domain", "record"]
    of: list[Any] = drafts.select(columns).filter(pa.array(~kept)).to_pylist()
    for each, name in zip(of, names, strict=True):
        rejects[each["place"]] = {
            "file": each["file"],
            "domain": each["domain"],
            "record": each["record"],
            "reason": wrong[name],
        }
    return kept


def _validating(drafts: pa.Table, of_task: Flags, share: float, seed: int) -> Flags:
    """Which of a task's rows are held out. A row without an image stands alone."""
    columns = ["images", "photograph", "dataset", "level", "place"]
    rows = drafts.select(columns).filter(pa.array(of_task))
    text = pa.large_string()
    alone = pc.binary_join_element_wise(
        pa.scalar("row", text), pc.cast(rows["place"], text), pa.scalar(" ", text)
    )
    first = pc.list_slice(rows["images"], 0, 1, return_fixed_size_list=True)  # null without one
    image = pc.coalesce(pc.list_flatten(first), alone)
    photograph = pc.coalesce(rows["photograph"], alone)
    return held_out(TaskRows(image, photograph, rows["dataset"], rows["level"]), share, seed)
