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
from qsit_ray.data.encode import AFTER, IMAGE, answered, asked
from qsit_ray.errors import InputError

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RowTokens:
    """Of every training row, in the catalog's order; int64 [rows] both.

    `tokens`: text and image, cut at `models.max_length`; a row without an image has its blank
    image's after that. `tiles`: image tiles, the thumbnail and a blank image's included.
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


def write_tokens(path: Path, counted: RowTokens) -> None:
    """Write the counts as an Arrow file with the columns tokens and tiles."""
    columns = {"tokens": counted.tokens, "tiles": counted.tiles}
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


@dataclass(frozen=True)
class Ruler:
    """What a model's counts depend on.

    `image_id`: number of the image token. `picture`: (height, width) of an image to its number of
    placeholder tokens and of tiles. `blank`: (height, width) of the image of a row without one.
    """

    tokenizer: Any
    image_id: int
    picture: Callable[[tuple[int, int]], tuple[int, int]]
    blank: tuple[int, int]
    max_length: int


@dataclass(frozen=True)
class Counts(RowTokens):
    """`whole`: tokens before the cut, int64 [rows]. `cut`: rows whose last answer is cut; `lost`:
    rows that the encoder refuses, since no answer or not all of the image is left; bool [rows]."""

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
    lengths, places, images = (np.zeros(len(flat), np.int64) for _ in range(3))
    for chosen, form in ((human, asked), (~human, answered)):
        found = _measure(texts.filter(pa.array(chosen)), form, ruler)
        lengths[chosen], places[chosen], images[chosen] = found
    lengths += np.where(human, 0, after)

    image_of_row = np.bincount(row_of, images, len(turns)).astype(np.int64)
    pictured = batch["image"].is_valid().to_numpy(zero_copy_only=False)
    _refuse(
        batch,
        pictured & (image_of_row != 1),
        lambda row: f"expected {IMAGE} once for its image, found it {image_of_row[row]} times",
    )
    _refuse(
        batch,
        ~pictured & (image_of_row > 0),
        lambda row: f"the text has {IMAGE} but the row has no image",
    )
    tokens, tiles = _pictures(batch, pictured, ruler)

    # Places within the row's text, the image's one token not yet replaced by its placeholders.
    before = np.cumsum(lengths) - lengths
    before -= before[starts][row_of]
    text = np.bincount(row_of, lengths, len(turns)).astype(np.int64)
    extra = np.where(pictured, tokens - 1, 0)
    whole = text + extra
    with_image = images == 1
    image_at = np.zeros(len(turns), np.int64)
    image_at[row_of[with_image]] = (before + places)[with_image]
    answer = before[starts + 1]
    answer = np.where(
        pictured & (image_at < answer),
        answer + extra,
        # An answer that begins with the image has its first label after it.
        np.where(pictured & (image_at == answer), answer + extra + 1, answer),
    )
    long = whole > ruler.max_length
    lost = long & (
        (pictured & (image_at + tokens > ruler.max_length)) | (answer >= ruler.max_length)
    )
    return Counts(
        tokens=np.minimum(whole, ruler.max_length) + np.where(pictured, 0, tokens),
        tiles=tiles,
        whole=whole,
        cut=~lost & (whole - after > ruler.max_length),
        lost=lost,
    )


def _measure(
    texts: pa.Array, form: Callable[[str], str], ruler: Ruler
) -> tuple[Integers, Integers, Integers]:
    """Of each text in its form: tokens, place of the first image token, number of image tokens."""
    distinct = texts.dictionary_encode()  # all of D1 asks one question
    ids = _ids(ruler, [form(text) for text in distinct.dictionary.to_pylist()])
    images = [each.count(ruler.image_id) for each in ids]
    places = [
        each.index(ruler.image_id) if image else 0 for each, image in zip(ids, images, strict=True)
    ]
    of = distinct.indices.to_numpy()
    lengths = [len(each) for each in ids]
    lengths_of, places_of, images_of = (
        np.array(found, np.int64)[of] for found in (lengths, places, images)
    )
    return lengths_of, places_of, images_of


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


def _pictures(batch: pa.RecordBatch, pictured: Flags, ruler: Ruler) -> tuple[Integers, Integers]:
    """Placeholder tokens and tiles of each row's image, or of the blank one."""
    sizes = np.empty((batch.num_rows, 2), np.int64)
    for column, (name, blank) in enumerate(zip(("height", "width"), ruler.blank, strict=True)):
        known = batch[name].is_valid().to_numpy(zero_copy_only=False)
        _refuse(batch, pictured & ~known, lambda row: "the catalog does not hold its image's size")
        sizes[:, column] = np.where(pictured, batch[name].fill_null(0).to_numpy(), blank)
    distinct, of = np.unique(sizes, axis=0, return_inverse=True)
    found = [ruler.picture((height, width)) for height, width in distinct.tolist()]
    counts = np.array(found, np.int64).reshape(-1, 2)[of.reshape(-1)]
    return counts[:, 0], counts[:, 1]


def _refuse(batch: pa.RecordBatch, wrong: Flags, reason: Callable[[int], str]) -> None:
    """Raises InputError with the reason for the first wrong row."""
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        row = batch.slice(first, 1).to_pylist()[0]
        raise InputError(f"row {row['row']} ({row['domain']}, id {row['id']}): {reason(first)}")
