"""Planted faults are found, and a clean data set has none."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from llava_files import Told, asked, scored
from PIL import Image

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.data.audit import audit, leaks, same_names
from qsit_ray.data.catalog import open_catalog
from qsit_ray.stages.catalog import build


@pytest.fixture
def findings(data, tmp_path):
    """Findings of a small data set whose images differ; `images` replaces some of them."""
    rng = np.random.default_rng(0)
    for file in sorted((tmp_path / "images").iterdir()):
        grid = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((96, 64), Image.Resampling.BICUBIC).save(file, quality=95)

    def found(change=lambda images: None, **records):
        change(tmp_path / "images")
        run = RunFolder(tmp_path / "run")
        config = presets.demo().model_copy(update={"data": data(**records)})
        build(run, config, Told())
        found = audit(open_catalog(run.catalog), {}, lambda done, total: None)
        return {each.kind: each for each in found}

    return found


def test_a_clean_data_set_has_no_findings(findings):
    """But for the questions, which the small data set asks for validation and for test."""
    assert all("validation and test" in kind for kind in findings())


def test_a_training_image_is_found_again_in_the_test_set(findings):
    def change(images):
        (images / "a.jpg").write_bytes((images / "x.jpg").read_bytes())
        with Image.open(images / "x.jpg") as image:
            image.resize((61, 40)).save(images / "b.jpg", quality=60)

    found = findings(change)
    assert found["image of training and test, by its bytes"].examples == ["images/a.jpg"]
    assert found["image of training and test, by its look"].examples == ["images/b.jpg"]
    assert "image of training and test, by its name" not in found


def test_an_image_that_has_gone_since_is_found(data, tmp_path):
    run = RunFolder(tmp_path / "run")
    build(run, presets.demo().model_copy(update={"data": data()}), Told())
    (tmp_path / "images" / "x.jpg").unlink()
    found = {each.kind: each for each in audit(open_catalog(run.catalog), {}, lambda *_: None)}
    assert found["image that can't be read"].examples == ["images/x.jpg"]


def test_repeated_rows_and_contradicting_levels_are_found(findings):
    records = [scored(n, "good") for n in range(20)] + [scored(3, "bad")]
    found = findings(scoring=records, interpreting=[asked(), asked()])
    assert found["training row that repeats another"].count == 1
    assert found["image with several levels"].examples == ["images/3.jpg: bad, good"]


def test_levels_that_contradict_their_mos_are_counted(findings):
    words = ["bad"] * 5 + ["good"] * 5 + ["excellent"] * 10
    right = [scored(n, word) for n, word in enumerate(words)]
    assert not any("contradicts" in kind for kind in findings(scoring=right))


def test_levels_of_two_scales_are_counted(findings):
    words = ["bad"] * 5 + ["excellent"] * 5 + ["bad"] * 5 + ["excellent"] * 5
    found = findings(scoring=[scored(n, word) for n, word in enumerate(words)])
    (kind,) = (kind for kind in found if "contradicts" in kind)
    assert found[kind].count == 10


def test_the_release_has_benchmark_images_in_d1(shared_data):
    """512 images of LLVisionQA-dev and 545 of its test set, by their names."""
    scored_images = pd.read_parquet(shared_data / "mos_koniq_spaq.parquet")
    trained = scored_images[scored_images.qsit_level.notna()].image
    for split, expected in (("dev", 512), ("test", 545)):
        with gzip.open(shared_data / f"llvisionqa_{split}.json.gz") as stream:
            asked_about = dict.fromkeys(each["img_path"] for each in json.load(stream))
        assert len(same_names(trained, asked_about)) == expected


def test_leaks_are_dropped_listed_and_no_fault_of_the_records(data, tmp_path):
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    for file in sorted(images.iterdir()):
        grid = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(grid).resize((96, 64), Image.Resampling.BICUBIC).save(file, quality=95)
    with Image.open(images / "q.jpg") as image:
        image.resize((61, 40)).save(images / "5.jpg", quality=60)
    (images / "x.jpg").write_bytes((images / "a.jpg").read_bytes())
    (images / "y.jpg").write_bytes((images / "19.jpg").read_bytes())
    described = data(interpreting=[asked(), asked(image="y.jpg"), asked(image="q.jpg")])
    config = presets.demo().model_copy(update={"data": described})
    kept, dropped = RunFolder(tmp_path / "kept"), RunFolder(tmp_path / "dropped")
    build(kept, config, Told())
    told = Told()
    drop = described.model_copy(update={"leaks": "drop", "max_rejects": 0.0})
    build(dropped, config.model_copy(update={"data": drop}), told)
    rejects = [
        json.loads(line)["reason"]
        for line in (dropped.catalog / "rejects.jsonl").read_text().splitlines()
    ]
    assert sorted(rejects) == [
        "an image of an evaluation set: 5.jpg (the same look)",
        "an image of an evaluation set: q.jpg (the same bytes)",
        "an image of an evaluation set: x.jpg (the same bytes)",
    ]
    said = " ".join(told.lines)
    assert "scoring: 17 training rows; rejects: 1, 1 × an image of an evaluation set" in said
    assert "interpreting: 1 training rows; rejects: 2, 2 × an image of an evaluation set" in said
    before, after = (open_catalog(run.catalog) for run in (kept, dropped))
    everything = [len(each.rows) + len(each.validation("scoring")) for each in (before, after)]
    assert everything[0] - everything[1] == 3
    found = {each.kind for each in audit(after, {}, lambda *_: None)}
    assert not {kind for kind in found if "training and test" in kind}


def test_answers_that_are_cut_are_named(findings, tmp_path):
    findings()
    opened = open_catalog(RunFolder(tmp_path / "run").catalog)
    found = {each.kind: each for each in audit(opened, {"proxy": [0, 3]}, lambda *_: None)}
    cut = found["answer that is cut at the proxy's models.max_length"]
    rows = opened.take([0, 3])
    assert cut.count == 2
    assert cut.examples == [f"{row['domain']} {row['id']}" for row in rows]


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_a_real_photograph_is_known_again_and_is_no_other(tmp_path, name):
    from skimage import data as photographs

    names = ["astronaut", "chelsea", "coffee", "rocket"]
    for each in names:
        Image.fromarray(getattr(photographs, each)()).save(tmp_path / f"{each}.png")
    with Image.open(tmp_path / f"{name}.png") as image:
        width, height = image.size
        left, top = width // 50, height // 50
        image.crop((left, top, width - left, height - top)).save(tmp_path / "cropped.jpg")
        image.resize((width // 3, height // 3)).save(tmp_path / "small.jpg", quality=40)
    made = ["cropped.jpg", "small.jpg"]
    found = leaks(tmp_path, made, [f"{each}.png" for each in names], lambda *_: None)
    assert found == dict.fromkeys(made, "the same look")
    others = [f"{each}.png" for each in names if each != name]
    assert leaks(tmp_path, made, others, lambda *_: None) == {}
