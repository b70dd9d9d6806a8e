"""Databases in their owners' layouts become one table of labels, and that D1 and test tables."""

import json

import numpy as np
import openpyxl
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from qsit_ray.data import databases, labels, scoring
from qsit_ray.errors import InputError
from qsit_ray.levels import Range, mos_to_levels


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def koniq(folder):
    rows = [(f"{n}.jpg", 1, 2, 3, 4, 0, 10, 3.0, 0.5, 50.0 + n) for n in range(3)]
    names = ["image_name", *(f"c{k}" for k in range(1, 6)), "c_total", "MOS", "SD", "MOS_zscore"]
    frame = pd.DataFrame(rows, columns=names)
    frame.to_csv(folder / "koniq10k_scores_and_distributions.csv", index=False)
    frame.assign(set=["training", "validation", "test"]).to_csv(
        folder / "koniq10k_distributions_sets.csv", index=False
    )
    for n in range(3):
        image(folder / "1024x768" / f"{n}.jpg")


def spaq(folder):
    book = openpyxl.Workbook()
    for row in (
        ["Image name", "MOS", "Brightness", "Sharpness"],
        ["00001.jpg", 63.5, 50, 70.25],
        ["00002.jpg", 12, 40, 20],
        [None, None, None, None],
    ):
        book.active.append(row)
    (folder / "Annotations").mkdir()
    book.save(folder / "Annotations" / "MOS and Image attribute scores.xlsx")
    image(folder / "TestImage" / "00001.jpg")
    image(folder / "TestImage" / "00002.jpg")


def livec(folder):
    names = [f"t{n}.bmp" for n in range(7)] + ["10.bmp", "11.bmp"]
    cells = np.empty((9, 1), dtype=object)
    cells[:, 0] = [np.array([name]) for name in names]
    (folder / "Data").mkdir()
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.arange(9.0)[None]})
    savemat(folder / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": np.full((1, 9), 4.0)})
    image(folder / "Images" / "10.bmp")


def agiqa3k(folder):
    names = ["name", "prompt", "mos_quality", "std_quality", "mos_align", "std_align"]
    pd.DataFrame([("a.jpg", "a cat, on a mat", 2.5, 0.4, 3.5, 0.2)], columns=names).to_csv(
        folder / "data.csv", index=False
    )


def kadid10k(folder):
    pd.DataFrame(
        [("I01_01_01.png", "I01.png", 4.5, 0.25), ("I01_01_05.png", "I01.png", 1.2, 0.16)],
        columns=["dist_img", "ref_img", "dmos", "var"],
    ).to_csv(folder / "dmos.csv", index=False)


def paq2piq(folder):
    pd.DataFrame(
        [("voc/1.jpg", 70.5, False), ("voc/2.jpg", 30.0, True)],
        columns=["name_image", "mos_image", "is_valid"],
    ).to_csv(folder / "labels_image.csv", index=False)
    image(folder / "voc" / "1.jpg")
    image(folder / "other" / "1.jpg")


def tid2013(folder):
    (folder / "mos_with_names.txt").write_text("5.51429 I01_01_1.bmp\n4.8 i02_01_2.bmp\n")
    (folder / "mos_std.txt").write_text("0.13\n0.14\n")
    image(folder / "distorted_images" / "i01_01_1.BMP")


def csiq(folder):
    lines = ["1600\t1\tnoise\t1\t0.061\t0.062", "1600\t3\tjpeg 2000\t5\t0.05\t0.9"]
    (folder / "csiq_dmos.txt").write_text("\n".join(lines) + "\n")
    image(folder / "dst_imgs" / "awgn" / "1600.AWGN.1.png")


def coco(folder):
    image(folder / "val2017" / "1.jpg")


MAKE = {make.__name__: make for make in (
    koniq, spaq, livec, agiqa3k, kadid10k, paq2piq, tid2013, csiq, coco
)}  # fmt: skip
FIRST = {
    "koniq": ("1024x768/0.jpg", 50.0, 12.5),
    "spaq": ("TestImage/00001.jpg", 63.5, None),
    "livec": ("Images/10.bmp", 7.0, 4.0),
    "agiqa3k": ("a.jpg", 2.5, 0.4),
    "kadid10k": ("I01_01_01.png", 4.5, 0.5),
    "paq2piq": ("voc/1.jpg", 70.5, None),
    "tid2013": ("distorted_images/i01_01_1.BMP", 5.51429, 0.13),
    "csiq": ("dst_imgs/awgn/1600.AWGN.1.png", 0.062, 0.061),
    "coco": ("val2017/1.jpg", None, None),
}


def read(name, folder):
    MAKE[name](folder)
    return databases.read(name, folder)


@pytest.mark.parametrize("name", MAKE)
def test_a_database_is_read_as_its_owners_ship_it(name, tmp_path):
    found = read(name, tmp_path)
    first = found.rows[0]
    assert (first.image, first.mos, first.std) == FIRST[name]
    assert found.lower_better == (name == "csiq")
    labels.write(tmp_path / "labels.parquet", found)
    again = labels.read(tmp_path / "labels.parquet")
    assert list(again.rows) == list(found.rows)
    assert (again.low, again.high, again.dataset) == (found.low, found.high, name)


def test_what_only_some_databases_have(tmp_path):
    folders = {name: tmp_path / name for name in ("koniq", "spaq", "livec", "tid2013", "paq2piq")}
    for folder in folders.values():
        folder.mkdir()
    found = {name: read(name, folder).rows for name, folder in folders.items()}
    assert found["koniq"][0].votes == (0.1, 0.2, 0.3, 0.4, 0.0)
    assert [row.split for row in found["koniq"]] == ["training", "validation", "test"]
    assert found["spaq"][0].attributes == {"brightness": 50, "sharpness": 70.25}
    assert [row.id for row in found["livec"]] == ["10.bmp", "11.bmp"]  # not the raters' training
    assert [row.reference for row in found["tid2013"]] == ["I01", "I02"]
    assert [row.split for row in found["paq2piq"]] == ["training", "validation"]


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        ("tid2013", "mos_with_names.txt", "5.5 a.bmp\nx b.bmp\n", "line 2"),
        ("tid2013", "mos_with_names.txt", "5.5 a b.bmp\n", "line 1: 3 cells; expected 2"),
        ("tid2013", "mos_with_names.txt", "9.5 a.bmp\n8 b.bmp\n", "a.bmp has the score 9.5"),
        ("tid2013", "mos_std.txt", "0.1\n", "mos_std.txt: 1 lines"),
        ("csiq", "csiq_dmos.txt", "1600\t9\tnoise\t1\t0.061\t0.062", "distortion 9"),
        ("kadid10k", "dmos.csv", "dist_img,ref_img,dmos,var\na,b,,1\n", "'dmos'"),
        ("spaq", "Annotations/MOS and Image attribute scores.xlsx", "PK", "as .xlsx"),
        ("livec", "Data/AllMOS_release.mat", "x", "not a MATLAB file"),
        ("koniq", "koniq10k_scores_and_distributions.csv", "image_name\na\n", "none of MOS_zscore"),
    ],
)
def test_a_wrong_file_is_named(name, file, text, said, tmp_path):
    MAKE[name](tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError) as found:
        databases.read(name, tmp_path)
    assert said in str(found.value)
    assert str(tmp_path) in str(found.value)


@pytest.mark.parametrize("name", MAKE)
def test_a_folder_without_the_database_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        databases.read(name, tmp_path)


def test_every_label_is_a_record_or_a_reject(tmp_path):
    found = read("koniq", tmp_path)
    made = scoring.records(found, Range.parse("explicit:0:100"))
    assert len(made.rows) + sum(made.rejects.values()) == 3
    assert made.rejects == {"of the test split": 1}
    assert [row["id"] for row in made.rows] == ["0.jpg->50.0", "1.jpg->51.0"]
    assert made.rows[0]["conversations"][1]["value"] == "The quality of the image is fair."
    assert len(scoring.records(found, Range.parse("explicit:0:100"), "all").rows) == 3
    assert [row["mos"] for row in scoring.table(found, "test").rows] == [52.0]


def test_dmos_become_scores_that_rise_with_quality(tmp_path):
    made = scoring.records(read("csiq", tmp_path), Range.parse("explicit:0:1"))
    words = [row["conversations"][1]["value"].split()[-1] for row in made.rows]
    assert words == ["excellent.", "bad."]
    first, last = (float(row["id"].partition("->")[2]) for row in made.rows)
    assert (first, last) == (pytest.approx(0.938), pytest.approx(0.1))


def test_koniqs_real_labels_are_the_released_ones(shared_data, tmp_path):
    """Q-SIT's training labels follow from the database's own file."""
    known = pd.read_parquet(shared_data / "mos_koniq_spaq.parquet")
    known = known[known.dataset == "koniq"]
    columns = ["image_name", *(f"c{k}" for k in range(1, 6)), "MOS", "SD", "set"]
    frame = known.rename(
        columns={"image": "image_name", "mos": "MOS", "std": "SD", "official_split": "set"}
    )[columns]
    frame.to_csv(tmp_path / "koniq10k_distributions_sets.csv", index=False)
    found = databases.read("koniq", tmp_path)
    released = pd.read_parquet(shared_data / "qsit_train_labels_koniq.parquet")
    made = scoring.records(found, Range.parse("koniq-release"), split="all")
    words = {row["image"]: row["conversations"][1]["value"] for row in made.rows}
    assert len(made.rows) == 10_073
    names = [image.rpartition("/")[2] for image in released.image]
    assert [words[name] for name in names] == released.answer.tolist()


def test_scores_that_are_known_to_rise_are_not_turned(tmp_path):
    labels.write(tmp_path / "labels.parquet", read("kadid10k", tmp_path))
    with pytest.raises(InputError, match="rise with quality"):
        labels.load(tmp_path / "labels.parquet", "image", "mos", True)


def test_a_foreign_table_becomes_d1_and_levels_follow_eq_1(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("image,mos\n" + "".join(f"{n}.png,{n}\n" for n in range(10)))
    found = labels.load(table, "image", "mos", False)
    made = scoring.records(found, Range.parse("dataset"))
    scoring.write(tmp_path / "d1.json", made)
    records = json.loads((tmp_path / "d1.json").read_text())
    words = mos_to_levels(np.arange(10.0), Range.parse("dataset")).words()
    assert [each["conversations"][1]["value"].split()[-1] for each in records] == [
        f"{word}." for word in words
    ]
    assert {each["dataset"] for each in records} == {"mine"}
