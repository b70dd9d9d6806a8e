"""Hostile images, records and files: rows in = rows out + rejects, and never another error."""

import json
import random

import pytest
import yaml
from hostile_images import bad, good
from hypothesis import given, settings
from hypothesis import strategies as st
from llava_files import QUESTION, Told, asked, read, scored

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.data import benchmarks, catalog, images, llava_next
from qsit_ray.errors import InputError
from qsit_ray.stages.catalog import build

MUTATIONS = 1000


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_catalog_of_hostile_images_takes_what_can_be_read(data, tmp_path):
    described = data()
    folder = tmp_path / "images"
    taken, refused = good(folder), bad(folder, tmp_path / "outside")
    assert len(taken) + len(refused) >= 40
    names = [*taken, *refused]
    records = [asked(id=str(n), image=name) for n, name in enumerate(names)]
    (tmp_path / "interpreting.json").write_text(json.dumps(records))
    run = RunFolder(tmp_path / "run")
    strict = presets.demo().model_copy(update={"data": described})
    with pytest.raises(InputError, match=f"{len(refused)} of {len(names)} records rejected"):
        build(run, strict, Told())
    kept = strict.model_copy(update={"data": described.model_copy(update={"max_rejects": 1.0})})
    build(run, kept, Told())
    opened = catalog.open_catalog(run.catalog)
    rows = [row for row in opened.rows.to_pylist() if row["domain"] == "interpreting"]
    lines = (run.catalog / "rejects.jsonl").read_text().splitlines()
    rejects = [json.loads(line) for line in lines]
    assert {names[int(row["id"])] for row in rows} == set(taken)
    assert {names[reject["record"] - 1] for reject in rejects} == set(refused)
    assert len(rows) + len(rejects) == len(names)
    for row in rows:
        (image,) = row["images"]
        width, height = images.read(run.catalog / image["path"]).size
        assert (image["height"], image["width"]) == (height, width)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
turns = st.fixed_dictionaries(
    {},
    optional={
        "from": st.sampled_from(["human", "gpt", "system"]) | values,
        "value": st.sampled_from(["<image>\nWhy?", "It is good.", "", "<|image|>"]) | values,
        "role": st.sampled_from(["user", "assistant"]) | values,
        "content": st.text() | st.lists(st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image", "image_url", "video"]) | values},
            optional={"text": values, "image": values, "image_url": values},
        )) | values,
    },
)  # fmt: skip
records = values | st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a->1.5", "b"]) | values,
        "image": st.sampled_from(["0.jpg", "gone.jpg"]) | st.lists(st.text()) | values,
        "images": values,
        "conversations": st.lists(turns, max_size=4) | values,
        "messages": st.lists(turns, max_size=4) | values,
        "gt_score": values,
        "dataset": values,
        "video": values,
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(records, min_size=1, max_size=12))
def test_any_records_are_rows_or_rejects(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "images").mkdir()
    for domain in ("scoring", "interpreting", "general"):
        (folder / f"{domain}.json").write_text(json.dumps(content))
    (folder / "q.json").write_text("[]")
    described = presets.LlavaData(
        images=str(folder / "images"),
        **{d: (str(folder / f"{d}.json"),) for d in ("scoring", "interpreting", "general")},
        validation_questions=str(folder / "q.json"),
    )
    found = read(described)
    held_out = [row for row in found.validation if row["domain"] == "scoring"]
    assert len(found.train) + len(held_out) + len(found.rejects) == 3 * len(content)
    assert all(reject["reason"] for reject in found.rejects)


def mutated(text, chance):
    """A text with one to four changes: bytes cut out, repeated, swapped, or put in."""
    content = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content) + 1)
        length = chance.randint(1, 12)
        kind = chance.randrange(5)
        if kind == 0:
            del content[at : at + length]
        elif kind == 1:
            content[at:at] = content[at : at + length]
        elif kind == 2:
            content[at:at] = bytes(chance.randrange(256) for _ in range(length))
        elif kind == 3:
            content[at:at] = chance.choice(
                [
                    b"null",
                    b"[",
                    b"}",
                    b'"',
                    b"\\u0000",
                    b"\xff",
                    b"NaN",
                    b"1e999",
                    b": ",
                    b"- ",
                    b"&a *a",
                ]
            )
        else:
            content = content[:at]
    return bytes(content)


def test_a_thousand_mutations_of_a_json_file_are_read_or_refused_by_name(data, tmp_path):
    valid = json.dumps([scored(n) for n in range(4)] + [asked()], indent=1).encode()
    chance, whole = random.Random(0), 0
    file = tmp_path / "d.json"
    described = data().model_copy(update={"scoring": (str(file),), "interpreting": (str(file),)})
    for _ in range(MUTATIONS):
        file.write_bytes(mutated(valid, chance))
        try:
            found = read(described)
        except InputError as error:
            assert str(file) in str(error)
            assert "\n" not in str(error)
            continue
        whole += 1
        records = len(list(llava_next.records(str(file), 0)))
        of_questions = [row for row in found.validation if row["domain"] == "interpreting"]
        rows = len(found.train) + len(found.validation) - len(of_questions)
        assert rows + len(found.rejects) == 2 * records + 1  # D3's one
    assert 0 < whole < MUTATIONS


def test_a_thousand_mutations_of_yaml_files_are_read_or_refused_by_name(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps([asked() for _ in range(10)]))
    mix = yaml.safe_dump({"datasets": [
        {"json_path": "d.json", "sampling_strategy": "random:22%"},
        {"json_path": "d.json", "sampling_strategy": "first:3"},
    ]}).encode()  # fmt: skip
    config = (
        b"extends: demo\nseed: 3\ntrain: {epochs: 9, micro_batch: 2}\nsearch:\n  max_steps: 5\n"
    )
    chance, whole = random.Random(1), 0
    for number in range(MUTATIONS):
        is_mix = number % 5 != 0
        file = tmp_path / ("mix.yaml" if is_mix else "config.yaml")
        file.write_bytes(mutated(mix if is_mix else config, chance))
        try:
            if is_mix:
                list(llava_next.records(str(file), 0))
            else:
                presets.resolve(str(file))
        except InputError as error:
            assert str(tmp_path) in str(error)
            continue
        whole += 1
    assert 0 < whole < MUTATIONS


@settings(deadline=None, max_examples=100)
@given(values)
def test_any_question_is_asked_or_refused_by_its_place(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "q.json").write_text(json.dumps([QUESTION, value]))
    try:
        found = benchmarks.questions(str(folder / "q.json"), "", graded=True)
    except InputError as error:
        assert f"{folder / 'q.json'}, question 2" in str(error)
    else:
        assert len(found.rows) == 2
