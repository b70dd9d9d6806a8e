"""Examples: which images and questions are shown, with their pictures and probabilities."""

import base64
import io
import re

import pytest
from PIL import Image
from planted_run import CONFIG, DATASET, IMAGES, Balanced, predict, read

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.report import predictions
from qsit_ray.report.examples import OF_A_KIND, SIDE, example_images, example_questions
from qsit_ray.report.page import build


@pytest.fixture
def run(tmp_path):
    found = RunFolder(tmp_path)
    predict(found)
    return found


def pictures(page):
    found = [v for tag, name, v in Balanced(page).attributes if (tag, name) == ("img", "src")]
    content = [base64.b64decode(v.removeprefix("data:image/jpeg;base64,")) for v in found]
    return [Image.open(io.BytesIO(each)) for each in content]


def test_the_best_the_worst_the_uncertain_and_the_wrong_ones_are_chosen(run):
    images = predictions.read(run, "demo")["primary"].images
    kinds = dict(example_images(images, run.catalog))
    shown = {title: [each.image.name for each in group] for title, group in kinds.items()}
    by_score = sorted(images, key=lambda image: -image.score)
    assert shown["Highest scores"] == [image.name for image in by_score[:OF_A_KIND]]
    assert shown["Lowest scores"] == [image.name for image in by_score[: -OF_A_KIND - 1 : -1]]
    # The planted deviation rises with the number; the highest scores are shown already.
    assert shown["Most uncertain"][0] == "images/20.png"
    every = [name for names in shown.values() for name in names]
    assert len(every) == len(set(every)) == 12
    best = kinds["Highest scores"][0]
    assert (best.rank, best.rows) == (1, IMAGES)


def test_few_images_are_shown_once(run):
    images = predictions.read(run, "demo")["primary"].images[:4]
    kinds = example_images(images, run.catalog)
    assert [len(group) for _, group in kinds] == [3, 1]
    assert example_images((), run.catalog) == []


def test_a_picture_that_is_gone_has_none(run):
    images = predictions.read(run, "demo")["primary"].images
    found = example_images([images[3]], run.catalog)
    assert found[0][1][0].picture is None
    assert "can’t be read any more" in read(build(run, CONFIG).read_text())


def test_questions_right_and_wrong_of_each_type_are_shown(run):
    asked = predictions.read(run, "demo")["primary"].questions
    found = example_questions(asked, run.catalog)
    assert [each.asked.right for each in found] == [True] * 3 + [False] * 3
    assert found[0].kind == "yes-or-no, distortion"
    assert found[0].candidates == (("yes & no", 0.25), ("no", 0.75))


def test_the_page_shows_scores_labels_levels_and_answers(run):
    page = build(run, CONFIG).read_text()
    text = read(page)
    for expected in (
        "Examples from the test set", "Highest scores", "Furthest from the label, by rank",
        "rank 1, label’s ", "pseudo-MOS 90.0", f"{DATASET} · 23.png",
        "Is it <0>?", "✓ right reply: no", "✗ wrong reply: yes & no", "62.5 %",
        f"Calibration: {DATASET}", f"{IMAGES} images, scored by the trained primary",
    ):  # fmt: skip
        assert expected in text, expected
    assert page.count('class="levels"') >= 11
    assert "10.0 % 15.0 % 50.0 % 20.0 % 5.0 %" in page.replace("\xa0", " ")
    found = pictures(page)
    assert found and all(max(each.size) <= SIDE for each in found)
    assert len(re.findall(r'src="data:image', page)) <= 18


def test_predictions_from_before_shares_were_recorded_are_shown(run):
    predict(run, shares=False)
    page = build(run, CONFIG).read_text()
    assert 'class="levels"' not in page and "✓ right" in page


def test_the_page_of_large_photographs_stays_below_five_megabytes(run):
    noise = Image.effect_noise((3000, 2000), 90).convert("RGB")
    for number in range(IMAGES):
        noise.save(run.catalog / "images" / f"{number}.png", compress_level=0)
    assert build(run, CONFIG).stat().st_size < 5_000_000


def test_questions_of_another_catalog_have_no_picture(run):
    path = run.catalog / "benchmarks" / "test" / "llvisionqa.json"
    changed = [{**each, "question": "Another?"} for each in artifacts.read_json(path)]
    artifacts.write_json(path, changed)
    asked = predictions.read(run, "demo")["primary"].questions
    assert [each.question for each in asked] == [None] * 12
    assert [each.right for each in asked] == [True] * 9 + [False] * 3
    assert example_questions(asked, run.catalog) == []


@pytest.mark.parametrize("content", ["no parquet", None])
def test_a_file_that_is_not_one_of_predictions_is_named(run, content):
    path = run.evaluation / "predictions.parquet"
    if content is None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"other": [1]}), path)
    else:
        path.write_text(content)
    with pytest.raises(InputError, match=r"predictions\.parquet"):
        build(run, CONFIG)
