"""What people voted becomes questions where it is clear, as many with yes as with no."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.data import attributes, labels
from qsit_ray.data.labels import Label, Labels
from qsit_ray.errors import InputError


def answers(rows):
    return {
        (r["image"], r["conversations"][0]["value"]): r["conversations"][1]["value"] for r in rows
    }


def test_only_the_ends_and_the_middle_of_an_attribute_are_asked_of(tmp_path):
    rows = [Label(f"{n}", f"{n}.jpg", 50.0, attributes={"sharpness": float(n)}) for n in range(100)]
    labels.write(tmp_path / "s.parquet", Labels("spaq", rows, 0, 100))
    found = attributes.convert(tmp_path / "s.parquet", "image", 0)
    said = answers(found.rows)
    how = {int(i[:-4]): a for (i, q), a in said.items() if q == "<image>\nHow sharp is this image?"}
    assert {a for n, a in how.items() if n < 20} == {"Blurry"}
    assert {a for n, a in how.items() if n > 79} == {"Sharp"}
    assert {a for n, a in how.items() if 30 < n < 70} == {"Fairly sharp"}
    assert not set(range(21, 39)) & set(how)
    assert found.unclear == 100 - len({r["image"] for r in found.rows})
    assert found.images == 100


@pytest.mark.parametrize("file", ["spaq_attributes", "koniqpp_distortions"])
def test_real_votes_give_balanced_questions_with_one_image_token(shared_data, tmp_path, file):
    column = {"spaq_attributes": "Image name", "koniqpp_distortions": "filename"}[file]
    found = attributes.convert(shared_data / f"{file}.parquet", column, 0)
    assert len(found.rows) > 5000
    closed = Counter(
        (r["conversations"][0]["value"], r["conversations"][1]["value"])
        for r in found.rows if ":yes_no:" in r["id"]
    )  # fmt: skip
    for question in {q for q, _ in closed}:
        assert closed[question, "Yes"] == closed[question, "No"] > 0
    assert all(r["conversations"][0]["value"].count("<image>") == 1 for r in found.rows)
    assert len({r["id"] for r in found.rows}) == len(found.rows)
    assert found.kinds["what_how"] == found.kinds["multiple_choice"]
    for row in found.rows:
        if ":multiple_choice:" in row["id"]:
            assert f". {row['conversations'][1]['value']}\n" in row["conversations"][0]["value"]
    assert found.rows == attributes.convert(shared_data / f"{file}.parquet", column, 0).rows


def test_a_distortion_most_raters_saw_is_the_worst(tmp_path):
    frame = pd.DataFrame(
        {"image": ["a", "b", "c"], "artifacts": [0, 0, 0.3], "blur": [0.6, 0, 0.35],
         "contrast": [0.1, 0, 0], "colors": [0, 0.1, 0]}
    )  # fmt: skip
    frame.to_csv(tmp_path / "v.csv", index=False)
    found = attributes.convert(tmp_path / "v.csv", "image", 0)
    said = answers(found.rows)
    worst = {image: a for (image, q), a in said.items() if q == f"<image>\n{attributes.WORST}"}
    assert worst == {"a": "Blur"}


def test_another_table_is_refused_and_the_command_writes_records(tmp_path):
    pd.DataFrame({"image": ["a"], "mos": [1]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match="neither SPAQ's attributes"):
        attributes.convert(tmp_path / "t.csv", "image", 0)
    values = np.linspace(0, 100, 50)
    frame = pd.DataFrame({"image": [f"{n}.jpg" for n in range(50)], "Sharpness": values})
    frame.to_csv(tmp_path / "s.csv", index=False)
    words = ["data", "convert", "attributes", str(tmp_path / "s.csv"), "--json"]
    done = CliRunner().invoke(app, [*words, "--to", str(tmp_path / "d2.json")])
    content = json.loads(done.stdout)
    assert content["rows"] == len(json.loads((tmp_path / "d2.json").read_text())) > 0
    assert content["images"] == 50


def test_a_value_that_many_images_share_is_no_end(tmp_path):
    values = [3.0] * 60 + [1.0] * 20 + [5.0] * 20
    frame = pd.DataFrame({"image": [f"{n}.jpg" for n in range(100)], "Sharpness": values})
    frame.to_csv(tmp_path / "s.csv", index=False)
    found = attributes.convert(tmp_path / "s.csv", "image", 0)
    said = answers(found.rows)
    how = {int(i[:-4]): a for (i, q), a in said.items() if q == "<image>\nHow sharp is this image?"}
    assert {a for n, a in how.items() if n < 60} == {"Fairly sharp"}
    assert {a for n, a in how.items() if 60 <= n < 80} == {"Blurry"}
    assert {a for n, a in how.items() if n >= 80} == {"Sharp"}


def test_votes_that_were_counted_are_refused(tmp_path):
    frame = pd.DataFrame(
        {"image": ["a", "b"], "artifacts": [0, 0], "blur": [0.5, 3], "contrast": 0, "colors": 0}
    )
    frame.to_csv(tmp_path / "v.csv", index=False)
    with pytest.raises(InputError, match=r"v\.csv, row 2, column blur: 3 is no share"):
        attributes.convert(tmp_path / "v.csv", "image", 0)
