"""Rows that go out come in again unchanged, and an exported mix has exactly the plan's rows."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk
from llava_files import Told, asked, scored

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.data import export, llava_next
from qsit_ray.data.catalog import open_catalog
from qsit_ray.mixture import DOMAINS, Mixture, plan_epoch
from qsit_ray.stages.catalog import build


def turns(*texts):
    speakers = ("human", "gpt") * (len(texts) // 2)
    return [{"from": s, "value": t} for s, t in zip(speakers, texts, strict=True)]


# 60 records: unicode, several images, no image, several turns.
RECORDS = [
    record
    for n in range(15)
    for record in (
        asked(id=f"one-{n}"),
        asked(id=f"two-{n}", image=["a.jpg", "b.jpg"],
              conversations=turns("<image> and <image>:\n哪张更清晰？", "第一张 ✓\u2028“mehr”")),
        {"id": f"none-{n}", "conversations": turns("Hi\t", " Hello \n")},
        asked(id=f"many-{n}",
              conversations=turns("<image>\nWhat?", "Blur.", "Why?", "Motion – 1/8 s.")),
    )
]  # fmt: skip


@pytest.fixture
def catalog(data, tmp_path):
    run = RunFolder(tmp_path / "run")
    described = data(interpreting=RECORDS, scoring=[scored(n) for n in range(20)])
    build(run, presets.demo().model_copy(update={"data": described}), Told())
    return open_catalog(run.catalog)


def all_of(catalog):
    return plan_epoch(Mixture(catalog.sizes), catalog.sizes, 0, 0, 8).rows.copy()


def test_sixty_records_survive_the_round_trip(catalog, tmp_path):
    rows = all_of(catalog)
    rows.sort()
    export.write(catalog, rows, "llava", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "interpreting.json").read_text()) == RECORDS
    names = {each["id"] for each in json.loads((tmp_path / "out" / "scoring.json").read_text())}
    assert names == {row["id"] for row in catalog.rows.to_pylist() if row["domain"] == "scoring"}


@pytest.mark.parametrize("kind", export.FORMATS)
def test_an_exported_mix_has_exactly_the_plans_rows(kind, catalog, tmp_path):
    mixture = Mixture.of(25, 31, 1)  # some scoring rows twice
    plan = plan_epoch(mixture, catalog.sizes, 0, 3, 8)
    counts = export.write(catalog, plan.rows, kind, tmp_path / "out")
    assert counts == mixture
    planned = [
        tuple(turn["value"] for turn in row["conversation"]) for row in catalog.take(plan.rows)
    ]
    out = tmp_path / "out"
    if kind == "llava":
        found = [
            tuple(turn["value"] for turn in record["conversations"])
            for _, _, record in llava_next.records(str(out / "mix.yaml"), 0)
        ]
        assert Counter(found) == Counter(planned)
        return
    if kind == "ms-swift":
        lines = (out / "train.jsonl").read_text().split("\n")[:-1]
        found = [[turn["content"] for turn in json.loads(line)["messages"]] for line in lines]
    else:
        table = pq.read_table(out / "rows.parquet").to_pylist() if kind == "parquet" else None
        rows = table or load_from_disk(str(out)).to_list()
        assert [row["domain"] for row in rows] == [
            DOMAINS[k] for k in catalog.domains(plan.rows).tolist()
        ]
        found = [[turn["value"] for turn in row["conversation"]] for row in rows]
    assert [tuple(each) for each in found] == planned


def test_q_sits_own_koniq_file_comes_out_as_it_went_in(data, shared_data, tmp_path):
    """7,046 records of the release's shape: ids, order and text byte for byte."""
    import pandas as pd

    released = pd.read_parquet(shared_data / "qsit_train_labels_koniq.parquet").head(400)
    records = [
        {
            "id": f"{row.name_}->{row.mos_s}",
            "image": f"{number % 20}.jpg",
            "conversations": turns(row.prompt, row.answer),
        }
        for number, row in enumerate(released.rename(columns={"name": "name_"}).itertuples())
    ]
    run = RunFolder(tmp_path / "run")
    build(run, presets.demo().model_copy(update={"data": data(scoring=records)}), Told())
    catalog = open_catalog(run.catalog)
    rows = all_of(catalog)
    rows.sort()
    export.write(catalog, rows, "llava", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "scoring.json").read_text())
    held_out = {row["id"] for row in catalog.validation("scoring")}
    assert written == [record for record in records if record["id"] not in held_out]
