"""Records with their images inside become files, whatever holds them."""

import io
import json
import tarfile

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.data.records import in_llavas_shape
from qsit_ray.errors import InputError

TURNS = [{"from": "human", "value": "<image>\nIs it sharp?"}, {"from": "gpt", "value": "Ja, é."}]


def picture(number, form="PNG"):
    rng = np.random.default_rng(number)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)).save(stream, form)
    return stream.getvalue()


PICTURES = [picture(n % 3, ("PNG", "JPEG", "WEBP")[n % 3]) for n in range(6)]


def folder(path):
    rows = {
        "id": [str(n) for n in range(6)],
        "image": [{"bytes": content, "path": None} for content in PICTURES],
        "conversations": [TURNS] * 6,
    }
    turn = {"from": datasets.Value("string"), "value": datasets.Value("string")}
    features = datasets.Features(
        {"id": datasets.Value("string"), "image": datasets.Image(), "conversations": [turn]}
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(path / "set"))
    return path / "set"


def parquet(path):
    table = pa.table({
        "id": [str(n) for n in range(6)],
        "images": [[{"bytes": content, "path": f"{n}.png"}] for n, content in enumerate(PICTURES)],
        "conversations": [TURNS] * 6,
    })  # fmt: skip
    pq.write_table(table, path / "rows.parquet")
    return path / "rows.parquet"


def webdataset(path):
    with tarfile.open(path / "shard.tar", "w") as tar:
        for n, content in enumerate(PICTURES):
            record = json.dumps({"id": str(n), "conversations": TURNS}).encode()
            for name, data in ((f"{n:04}.jpg", content), (f"{n:04}.json", record)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path / "shard.tar"


def unpack(source, out):
    done = CliRunner().invoke(app, ["data", "unpack", str(source), "--out", str(out), "--json"])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


@pytest.mark.parametrize("make", [folder, parquet, webdataset], ids=lambda make: make.__name__)
def test_each_form_gives_the_same_records_and_the_images_bytes(tmp_path, make):
    out = tmp_path / "out"
    counts = unpack(make(tmp_path), out)
    assert (counts["records"], counts["rejects"], counts["images"]) == (6, 0, 3)
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    for number, record in enumerate(records):
        shaped = in_llavas_shape(record)
        assert shaped["id"] == str(number)
        assert shaped["conversations"] == TURNS
        (name,) = shaped["image"]
        assert (out / "images" / name).read_bytes() == PICTURES[number]


def test_rows_that_are_no_records_are_rejects_with_their_number(tmp_path):
    table = pa.table({
        "image": [{"bytes": PICTURES[0], "path": None}, {"bytes": b"no", "path": None}, None],
        "conversations": [TURNS, TURNS, None],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "rows.parquet")
    counts = unpack(tmp_path / "rows.parquet", tmp_path / "out")
    assert (counts["records"], counts["rejects"]) == (1, 2)
    rejects = [json.loads(x) for x in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [each["record"] for each in rejects] == [2, 3]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.parquet", b"no", "can't read it"), ("a.tar", b"no", "can't read it"),
     ("a.zip", b"no", "expected a folder of datasets"), (None, b"", "no such file")],
)  # fmt: skip
def test_other_files_are_refused_by_name(tmp_path, name, content, said):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        unpack(tmp_path / (name or "gone.tar"), tmp_path / "out")


def test_a_split_of_several_must_be_named(tmp_path):
    single = datasets.Dataset.from_dict({"id": ["1"], "conversations": [TURNS]})
    datasets.DatasetDict(train=single, test=single).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(InputError, match="give --split, one of train, test"):
        unpack(tmp_path / "set", tmp_path / "out")
    done = CliRunner().invoke(
        app, ["data", "unpack", str(tmp_path / "set"), "--out", str(tmp_path / "out"),
              "--split", "test", "--json"],
    )  # fmt: skip
    assert json.loads(done.stdout)["records"] == 1


def test_images_within_messages_and_plain_bytes_are_written(tmp_path):
    parts = [
        {"type": "image", "image": {"bytes": PICTURES[0], "path": None}, "text": None},
        {"type": "text", "image": None, "text": "Is it sharp?"},
    ]
    messages = [{"role": "user", "content": parts}]
    table = pa.table({"messages": [messages], "image": pa.array([PICTURES[1]], pa.binary())})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert unpack(tmp_path / "rows.parquet", tmp_path / "out")["images"] == 2
    record = json.loads((tmp_path / "out" / "records.jsonl").read_text())
    name = record["messages"][0]["content"][0]["image"]
    assert (tmp_path / "out" / "images" / name).read_bytes() == PICTURES[0]
    assert (tmp_path / "out" / "images" / record["image"]).read_bytes() == PICTURES[1]


def test_values_that_json_does_not_have_are_rejects(tmp_path):
    table = pa.table({
        "conversations": [TURNS, TURNS, TURNS],
        "weight": [1.0, float("nan"), 2.0],
        "image": [None, None, {"bytes": None, "path": "a.png"}],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "rows.parquet")
    counts = unpack(tmp_path / "rows.parquet", tmp_path / "out")
    assert (counts["records"], counts["rejects"]) == (1, 2)
