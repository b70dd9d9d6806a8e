"""pure: rows of a catalog as files for other trainers: LLaVA, ms-swift, parquet, Hugging Face.

llava     <domain>.json and mix.yaml, a LLaVA-NeXT data YAML that takes all of each
ms-swift  train.jsonl, with messages and images
parquet   rows.parquet, with id, domain, images and conversation
hf        the same columns as a folder of `datasets.load_from_disk`

Image names are relative to the catalog's images/, and so to `data.images`, as the files read had
them. A row that an epoch takes several times is there as often.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from qsit_ray import artifacts
from qsit_ray.data.catalog import IMAGES, Catalog, CatalogRow

Format = Literal["llava", "ms-swift", "parquet", "hf"]
FORMATS: tuple[Format, ...] = get_args(Format)
CHUNK = 4096
ROLES = {"human": "user", "gpt": "assistant"}


def write(catalog: Catalog, rows: NDArray[np.int64], kind: Format, out: Path) -> dict[str, int]:
    """Write catalog rows, in this order, into the folder `out`. Returns the rows of each domain."""
    out.mkdir(parents=True, exist_ok=True)
    domains = catalog.domains(rows)
    counts = {domain: int((domains == k).sum()) for k, domain in enumerate(catalog.sizes)}
    if kind == "llava":
        for k, domain in enumerate(catalog.sizes):
            found = map(llava_record, _rows(catalog, rows[domains == k]))
            _write_json(out / f"{domain}.json", found)
        entries = [
            {"json_path": f"{domain}.json", "sampling_strategy": "all"}
            for domain in catalog.sizes
            if counts[domain]
        ]
        text = yaml.safe_dump({"datasets": entries}, sort_keys=False)
        artifacts.write_text(out / "mix.yaml", text)
    elif kind == "ms-swift":
        with (
            artifacts.atomic(out / "train.jsonl") as temporary,
            temporary.open("w", encoding="utf-8") as stream,
        ):
            for row in _rows(catalog, rows):
                stream.write(json.dumps(swift_record(row), ensure_ascii=False) + "\n")
    elif kind == "parquet":
        with artifacts.atomic(out / "rows.parquet") as temporary:
            pq.write_table(_table(catalog, rows), temporary)
    else:
        from datasets import Dataset  # lazily: it takes seconds

        Dataset(_table(catalog, rows)).save_to_disk(str(out))
    return counts


def llava_record(row: CatalogRow) -> dict[str, Any]:
    """A row in LLaVA's shape: `image` is a name, a list of several, or absent."""
    names = _names(row)
    image: dict[str, Any] = {"image": names if len(names) > 1 else names[0]} if names else {}
    return {"id": row["id"], **image, "conversations": row["conversation"]}


def swift_record(row: CatalogRow) -> dict[str, Any]:
    """A row in ms-swift's shape."""
    messages = [
        {"role": ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversation"]
    ]
    return {"messages": messages, "images": _names(row)}


def _names(row: CatalogRow) -> list[str]:
    return [image["path"].removeprefix(f"{IMAGES}/") for image in row["images"]]


def _rows(catalog: Catalog, rows: NDArray[np.int64]) -> Iterator[CatalogRow]:
    for start in range(0, len(rows), CHUNK):
        yield from catalog.take(rows[start : start + CHUNK])


def _table(catalog: Catalog, rows: NDArray[np.int64]) -> pa.Table:
    turn = pa.struct([("from", pa.string()), ("value", pa.large_string())])
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("domain", pa.string()),
            ("images", pa.list_(pa.string())),
            ("conversation", pa.list_(turn)),
        ]
    )
    batches = []
    for start in range(0, len(rows), CHUNK):
        taken = catalog.take(rows[start : start + CHUNK])
        content = [
            {
                "id": row["id"],
                "domain": row["domain"],
                "images": _names(row),
                "conversation": row["conversation"],
            }
            for row in taken
        ]
        batches.append(pa.RecordBatch.from_pylist(content, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _write_json(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """A JSON list, written record by record: an epoch's texts can be gigabytes."""
    with (
        artifacts.atomic(path) as temporary,
        temporary.open("w", encoding="utf-8") as stream,
    ):
        stream.write("[")
        for number, record in enumerate(records):
            stream.write(",\n" if number else "\n")
            stream.write(json.dumps(record, ensure_ascii=False))
        stream.write("\n]\n")
