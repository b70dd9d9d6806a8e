"""pure: tokens and image tiles of every row as a model sees them, counted column by column.

The counts are those of `Encoder.encode` without its pixels: the same chat form, the same image
placeholders, the same cut at `max_length`. The `tokens` stage writes them into the run folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qsit_ray.artifacts import RunFolder
from qsit_ray.data.encode import AFTER, answered, asked, wrong_images
from qsit_ray.errors import InputError

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RowTokens:
    """Of every training row, in the catalog's order; int64 [rows] both.

    `tokens`: text and images, cut at `models.max_length`; a row without an image has its blank
    image's after that. `tiles`: image tiles, thumbnails and a blank image's included.
    """

    tokens: Integers
    tiles: Integers


def read_tokens(run: RunFolder, which: Literal["proxy", "primary"]) -> RowTokens:
    """The counts of the run's proxy or primary.

    Raises InputError naming the file that is missing or can't be read.
    """
    path = run.tokens(which)
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return RowTokens(table["tokens"].to_numpy(), table["tiles"].to_numpy())
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path}: can't read the token counts ({error}); run `qsit data build` first"
        ) from None


def read_cut(run: RunFolder) -> dict[str, list[int]]:
    """The training rows whose answer is cut, by model, where they have been counted."""
    found = {}
    for which in ("proxy", "primary"):
        path = run.tokens(which)
        if path.exists():
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if "cut" in table.schema.names:
                found[which] = np.flatnonzero(table["cut"].to_numpy()).tolist()
    return found


def write_tokens(path: Path, counted: RowTokens) -> None:
    """Write the counts as an Arrow file with the columns tokens and tiles, and cut where known."""
    columns: dict[str, NDArray[Any]] = {"tokens": counted.tokens, "tiles": counted.tiles}
    if isinstance(counted, Counts):
        columns["cut"] = counted.cut
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


@dataclass(frozen=True)
class Ruler:
    """What a model's counts depend on.

    `image_id`: number of the image token. `picture`: (height, width) of a row's only image to its
    number of placeholder tokens and of tiles. `of_several`: placeholder tokens of each image of a
    row that has several; it is one tile. `blank`: (height, width) of the image of a row without
    one.
    """

    tokenizer: Any
    image_id: int
    picture: Callable[[tuple[int, int]], tuple[int, int]]
    of_several: int
    blank: tuple[int, int]
    max_length: int


@dataclass(frozen=True)
class Counts(RowTokens):
    """`whole`: tokens before the cut, int64 [rows]. `cut`: rows whose last answer is cut; `lost`:
    rows that the encoder refuses, since no answer or not all images are left; bool [rows]."""

    whole: Integers
    cut: Flags
    lost: Flags


def count(rows: pa.Table, ruler: Ruler, report: Callable[[int, int], None]) -> Counts:
    """Count all rows of a table with the catalog's columns.

    Raises InputError naming the row: turns that do not alternate, an image without its image token
    or the reverse, an image whose size the catalog lacks.
    """
    after = len(_ids(ruler, [AFTER])[0])
    parts = []
    done = 0
    for batch in rows.to_batches():
        parts.append(_count(batch, ruler, after))
        done += batch.num_rows
        report(done, rows.num_rows)
    if not parts:
        none, never = np.zeros(0, np.int64), np.zeros(0, bool)
        return Counts(none, none, none, never, never)
    columns = zip(*(astuple(part) for part in parts), strict=True)
    names = [field.name for field in fields(Counts)]
    return Counts(**{n: np.concatenate(c) for n, c in zip(names, columns, strict=True)})


def refuse_lost(counted: Counts, rows: pa.Table, max_length: int) -> None:
    """Raises InputError naming the first row that the encoder would refuse, with their number."""
    lost = np.flatnonzero(counted.lost)
    if not lost.size:
        return
    first = int(lost[0])
    row = rows.slice(first, 1).to_pylist()[0]
    others = f"; so do {lost.size - 1} other rows" if lost.size > 1 else ""
    raise InputError(
        f"row {row['row']} ({row['domain']}, id {row['id']}): its {counted.whole[first]} tokens "
        f"leave no answer within models.max_length {max_length}{others}"
    )


def _count(batch: pa.RecordBatch, ruler: Ruler, after: int) -> Counts:
    turns = pc.list_value_length(batch["conversation"]).to_numpy()
    flat = pc.list_flatten(batch["conversation"])
    ends = np.cumsum(turns)
    starts = ends - turns
    row_of = np.repeat(np.arange(len(turns)), turns)
    human = (np.arange(len(flat)) - starts[row_of]) % 2 == 0
    wanted = np.where(human, "human", "gpt")
    speakers = np.array(pc.struct_field(flat, "from").to_pylist(), dtype=object)
    orderly = (turns > 0) & (turns % 2 == 0)
    np.logical_and.at(orderly, row_of, speakers == wanted)
    _refuse(batch, ~orderly, lambda row: "turns must alternate human, gpt and end with gpt")

    texts = pc.struct_field(flat, "value")
    measured = np.zeros((len(flat), 4), np.int64)
    for chosen, form in ((human, asked), (~human, answered)):
        measured[chosen] = _measure(texts.filter(pa.array(chosen)), form, ruler)
    lengths, last, images, leading = measured.T
    lengths += np.where(human, 0, after)

    shown = pc.list_value_length(batch["images"]).to_numpy().astype(np.int64)
    found = np.bincount(row_of, images, len(turns)).astype(np.int64)
    _refuse(batch, found != shown, lambda row: wrong_images(int(found[row]), int(shown[row])))
    tokens, tiles = _pictures(batch, shown, ruler)

    # Places within the row's text, where an image is one token.
    before = np.cumsum(lengths) - lengths
    before -= before[starts][row_of]
    text = np.bincount(row_of, lengths, len(turns)).astype(np.int64)
    placeholders = np.where(shown > 0, _summed(tokens, shown), 0)
    whole = text + placeholders - shown
    image_end = np.zeros(len(turns), np.int64)  # after the last image's placeholders
    with_image = images > 0
    np.maximum.at(image_end, row_of[with_image], (before + last + 1)[with_image])
    image_end = np.where(shown > 0, image_end + placeholders - shown, 0)
    # The first label is the first answer's first token that is no image token.
    earlier = images[starts] + leading[starts + 1]
    first = before[starts + 1] + leading[starts + 1] + _summed_first(tokens - 1, shown, earlier)
    long = whole > ruler.max_length
    lost = long & ((image_end > ruler.max_length) | (first >= ruler.max_length))
    blank = np.where(shown > 0, 0, ruler.picture(ruler.blank)[0])
    return Counts(
        tokens=np.minimum(whole, ruler.max_length) + blank,
        tiles=np.where(shown > 0, _summed(tiles, shown), ruler.picture(ruler.blank)[1]),
        whole=whole,
        cut=~lost & (whole - after > ruler.max_length),
        lost=lost,
    )


def _measure(texts: pa.Array, form: Callable[[str], str], ruler: Ruler) -> Integers:
    """Of each text in its form, int64 [texts, 4]: tokens, place of the last image token, number of
    image tokens, number of them at the beginning."""
    distinct = texts.dictionary_encode()  # all of D1 asks one question
    ids = _ids(ruler, [form(text) for text in distinct.dictionary.to_pylist()])
    found = np.zeros((len(ids), 4), np.int64)
    for row, each in zip(found, ids, strict=True):
        places = [place for place, token in enumerate(each) if token == ruler.image_id]
        leading = next((n for n, place in enumerate(places) if n != place), len(places))
        row[:] = len(each), places[-1] if places else 0, len(places), leading
    of: Integers = distinct.indices.to_numpy()
    return found[of]


def _ids(ruler: Ruler, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    found: list[list[int]] = ruler.tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    return found


def _pictures(batch: pa.RecordBatch, shown: Integers, ruler: Ruler) -> tuple[Integers, Integers]:
    """Placeholder tokens and tiles of all images of the batch, one after the other."""
    images = pc.list_flatten(batch["images"])
    row_of = np.repeat(np.arange(len(shown)), shown)
    sizes = np.empty((len(images), 2), np.int64)
    for column, name in enumerate(("height", "width")):
        pixels = pc.struct_field(images, name)
        unknown = np.zeros(len(shown), bool)
        unknown[row_of[pixels.is_null().to_numpy(zero_copy_only=False)]] = True
        _refuse(batch, unknown, lambda row: "the catalog does not hold its image's size")
        sizes[:, column] = pixels.to_numpy(zero_copy_only=False)
    counts = np.tile(np.array([ruler.of_several, 1], np.int64), (len(images), 1))
    alone = (shown == 1)[row_of]
    distinct, of = np.unique(sizes[alone], axis=0, return_inverse=True)
    found = [ruler.picture((height, width)) for height, width in distinct.tolist()]
    counts[alone] = np.array(found, np.int64).reshape(-1, 2)[of.reshape(-1)]
    return counts[:, 0], counts[:, 1]


def _summed(values: Integers, counts: Integers) -> Integers:
    """The sums of `counts` values each."""
    return _summed_first(values, counts, counts)


def _summed_first(values: Integers, counts: Integers, first: Integers) -> Integers:
    """The sums of the `first` of `counts` values each."""
    sums = np.concatenate([[0], np.cumsum(values)])
    starts = np.cumsum(counts) - counts
    ends = starts + np.minimum(first, counts)
    found: Integers = sums[ends] - sums[starts]
    return found


def _refuse(batch: pa.RecordBatch, wrong: Flags, reason: Callable[[int], str]) -> None:
    """Raises InputError with the reason for the first wrong row."""
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        row = batch.slice(first, 1).to_pylist()[0]
        raise InputError(f"row {row['row']} ({row['domain']}, id {row['id']}): {reason(first)}")
