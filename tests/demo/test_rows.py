"""The demo's rows are true of their images, split by scene, and the same for the same seed."""

import hashlib
import importlib.util
import itertools

import numpy as np
import pytest
from PIL import Image

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.data import DemoData
from qsit_ray.demo import photographs, questions, rows
from qsit_ray.errors import InputError
from qsit_ray.prompts import SCORING_QUESTION
from qsit_ray.stages import catalog
from qsit_ray.terminal import Terminal

SIZES = DemoData(
    scoring=30,
    interpreting=90,
    general=60,
    validation_scoring=8,
    validation_interpreting=20,
    validation_images=12,
    validation_questions=20,
    test_images=45,
    test_questions=80,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    return folder, rows.build(folder, SIZES, 3, lambda *_: None, workers=1)


def test_counts_are_the_configured_ones(built):
    _, data = built
    domains = [row["domain"] for row in data.train]
    assert [domains.count(d) for d in ("scoring", "interpreting", "general")] == [30, 90, 60]
    assert len(data.validation) == 28
    assert [len(data.images["validation"]), len(data.images["test"])] == [12, 45]
    assert [len(data.questions["validation"]), len(data.questions["test"])] == [20, 80]


def test_no_scene_is_in_two_splits(built):
    _, data = built
    scene = {name: p.scene for name, p in photographs.PHOTOGRAPHS.items()}
    used = {
        "train": {scene[row["photograph"]] for row in data.train},
        "validation": {
            scene[row["photograph"]]
            for row in [
                *data.validation,
                *data.images["validation"],
                *data.questions["validation"],
            ]
        },
        "test": {
            scene[row["photograph"]] for row in [*data.images["test"], *data.questions["test"]]
        },
    }
    for one, other in itertools.combinations(used.values(), 2):
        assert not one & other
    assert len(used["test"]) == 3


def test_the_same_seed_gives_the_same_bytes(built, tmp_path):
    folder, data = built
    again = rows.build(tmp_path, SIZES, 3, lambda *_: None, workers=1)
    assert again == data

    def digest(root):
        return [
            (f.name, hashlib.sha256(f.read_bytes()).hexdigest())
            for f in sorted((root / "images").iterdir())
        ]

    assert digest(folder) == digest(tmp_path)


def test_a_users_photographs_are_in_the_final_evaluation_alone(built, tmp_path):
    _, plain = built
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    for name in ("one.jpg", "two.png"):
        Image.fromarray(noise).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a photograph", encoding="utf-8")
    sizes = SIZES.model_copy(update={"test_photographs": str(tmp_path)})
    data = rows.build(tmp_path / "catalog", sizes, 3, lambda *_: None, workers=1)
    assert data.train == plain.train
    assert data.validation == plain.validation
    assert data.images["validation"] == plain.images["validation"]
    for of_test in (data.images["test"], data.questions["test"]):
        assert {"one.jpg", "two.png", "coffee"} <= {row["photograph"] for row in of_test}


@pytest.mark.parametrize(
    ("file", "content"), [("cut.jpg", b"\xff\xd8\xff"), ("small.png", None), (None, None)]
)
def test_a_folder_of_photographs_that_cant_be_used_is_named(tmp_path, file, content):
    if content is not None:
        (tmp_path / file).write_bytes(content)
    elif file is not None:
        Image.new("RGB", (80, 300)).save(tmp_path / file)
    sizes = SIZES.model_copy(update={"test_photographs": str(tmp_path)})
    with pytest.raises(InputError, match=file or str(tmp_path)):
        rows.build(tmp_path / "catalog", sizes, 3, lambda *_: None, workers=1)


def test_scoring_rows_can_be_made_from_some_photographs(tmp_path):
    pools = photographs.pools()
    scenes = [{photographs.PHOTOGRAPHS[name].scene for name in names} for names in pools.values()]
    assert scenes[0].isdisjoint(scenes[1])
    names = tuple(pools["scenes-a"])
    sizes = SIZES.model_copy(update={"scoring_photographs": names})
    data = rows.build(tmp_path, sizes, 3, lambda *_: None, workers=1)
    of_domain = {
        domain: {row["photograph"] for row in data.train if row["domain"] == domain}
        for domain in ("scoring", "interpreting")
    }
    assert of_domain["scoring"] <= set(names)
    assert not of_domain["interpreting"] <= set(names)
    wrong = SIZES.model_copy(update={"scoring_photographs": ("coffee",)})
    with pytest.raises(InputError, match="coffee"):
        rows.build(tmp_path, wrong, 3, lambda *_: None, workers=1)


def test_every_row_refers_to_an_image_of_the_catalog(built):
    folder, data = built
    rows = [*data.train, *data.validation]
    paths = {image["path"] for row in rows for image in row["images"]}
    paths |= {row["image"] for row in data.images["test"]}
    for path in paths | {q["img_path"] for q in data.questions["test"]}:
        with Image.open(folder / path) as image:
            assert image.size == (photographs.CROP, photographs.CROP)
    sizes = {(image["height"], image["width"]) for row in rows for image in row["images"]}
    assert sizes == {(photographs.CROP, photographs.CROP)}


def test_scoring_rows_have_the_papers_words_and_eq_1_levels(built):
    _, data = built
    rows = [row for row in data.train if row["domain"] == "scoring"]
    mos = np.array([row["mos"] for row in rows])
    assert mos.min() >= 0 and mos.max() <= 100
    for row in rows:
        human, gpt = row["conversation"]
        assert human["value"] == SCORING_QUESTION
        assert gpt["value"] == f"The quality of the image is {row['level']}."
    assert rows[int(mos.argmin())]["level"] == "bad"
    assert rows[int(mos.argmax())]["level"] == "excellent"


def test_questions_have_llvisionqas_shape(built):
    _, data = built
    for question in data.questions["test"]:
        candidates = question["candidates"]
        assert 2 <= len(candidates) <= 4 and len(set(candidates)) == len(candidates)
        assert question["correct_ans"] in candidates
        assert question["type"] in (0, 1, 2) and question["concern"] in (0, 1, 2, 3)
        if question["type"] == 0:
            assert sorted(candidates) == ["no", "yes"]
    assert {q["type"] for q in data.questions["test"]} == {0, 1, 2}
    assert {q["concern"] for q in data.questions["test"]} == {0, 1, 2, 3}
    places = [
        q["candidates"].index(q["correct_ans"])
        for q in data.questions["test"]
        if len(q["candidates"]) == 4
    ]
    assert len(set(places)) == 4, "the right answer must not have a fixed place"


def test_yes_and_no_are_balanced(built):
    _, data = built
    answers = [row["conversation"][1]["value"] for row in data.train]
    yes, no = answers.count("yes"), answers.count("no")
    assert abs(yes - no) <= 0.25 * (yes + no)


def test_a_half_distorted_crop_is_untouched_on_its_other_half():
    sample = photographs.Sample("astronaut", (100, 50, 128), "gaussian_noise", 5, "left half", 1)
    pixels, similarity = photographs.render(sample)
    pristine = photographs.crop_of(sample)
    assert (pixels[:, 32:] == pristine[:, 32:]).all()
    assert (pixels[:, :32] != pristine[:, :32]).mean() > 0.5
    assert 0 < similarity < 1


@pytest.mark.parametrize("distortion", photographs.DISTORTIONS)
def test_a_distortion_is_the_same_each_time_and_worse_when_stronger(distortion):
    mild, strong = (
        photographs.Sample("china", (40, 90, 200), distortion, s, "whole", 5) for s in (1, 5)
    )
    first, mild_ssim = photographs.render(mild)
    second, _ = photographs.render(mild)
    assert (first == second).all()
    assert rows.pseudo_mos(strong, photographs.render(strong)[1]) < rows.pseudo_mos(mild, mild_ssim)


def test_colour_words_are_those_people_use():
    words = {
        "red": (200, 20, 20),
        "orange": (240, 130, 20),
        "green": (30, 160, 40),
        "blue": (30, 60, 200),
        "brown": (110, 70, 30),
        "black": (5, 5, 5),
        "grey": (120, 120, 122),
        "white": (250, 250, 248),
        "yellow": (240, 230, 40),
    }
    for word, rgb in words.items():
        assert questions.colour_of(np.full((8, 8, 3), rgb, np.uint8)) == word


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (["sklearn"], "sklearn: not installed; pip install 'qsit_ray[demo]'"),
        (
            ["imagecorruptions", "imgaug"],
            "imagecorruptions, imgaug: not installed; pip install --no-deps imagecorruptions-imaug"
            " imgaug",
        ),
        (
            ["cv2", "imgaug"],
            "cv2, imgaug: not installed; pip install 'qsit_ray[demo]', and pip install --no-deps"
            " imagecorruptions-imaug imgaug",
        ),
    ],
)
def test_what_the_demo_lacks_is_told_before_anything_is_made(missing, told, tmp_path, monkeypatch):
    find = importlib.util.find_spec

    def found(name, package=None):
        return None if name in missing else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(InputError) as error:
        catalog.build(run, presets.demo(), Terminal())
    assert str(error.value) == told
    assert not run.path.exists()
