"""Models of a run against each other on the same items."""

import pytest
from planted_run import CONFIG, DATASET, IMAGES, predict, read

from qsit_ray.artifacts import RunFolder
from qsit_ray.evaluation.intervals import DEFAULT
from qsit_ray.report import predictions
from qsit_ray.report.page import PAIRS, build
from qsit_ray.report.paired import paired_tests
from qsit_ray.report.summary import gain


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = RunFolder(tmp_path_factory.mktemp("run"))
    predict(found)
    return found


@pytest.fixture(scope="module")
def models(run):
    return predictions.read(run, "demo")


def test_the_planted_differences_are_found(models):
    tests = paired_tests(models, PAIRS, DEFAULT)
    assert [(t.a, t.b, t.metric) for t in tests] == [
        (a, b, metric) for a, b in PAIRS for metric in ("SRCC", "PLCC", "accuracy")
    ]
    srcc, _, accuracy = tests[:3]
    assert (srcc.benchmark, srcc.items, srcc.test) == (DATASET, IMAGES, "Williams")
    assert srcc.difference.interval[0] > 0 and srcc.p_value < 0.001
    # 9 and 3 of 12 questions are right, the three in both: McNemar of 6 against 0.
    assert accuracy.difference.difference == pytest.approx(0.5)
    assert accuracy.p_value == pytest.approx(2 * 0.5**6)


def test_a_model_against_itself_does_not_differ(models):
    same = {"primary": models["primary"], "proxy": models["primary"]}
    for test in paired_tests(same, [("primary", "proxy")], DEFAULT):
        assert test.difference.difference == 0 and test.p_value == 1


def test_models_that_are_missing_or_saw_other_items_are_left_out(models):
    from dataclasses import replace

    assert paired_tests({"primary": models["primary"]}, PAIRS, DEFAULT) == []
    own = models["primary"]
    others = [replace(image, truth=image.truth + 1) for image in own.images]
    asked = [replace(each, text="Another?") for each in own.questions]
    other = predictions.Predictions(tuple(others), tuple(asked))
    assert paired_tests({"primary": own, "proxy": other}, PAIRS, DEFAULT) == []


def test_the_page_has_the_table_and_the_gain(run, models):
    text = read(build(run, CONFIG).read_text())
    for expected in (
        "Differences on the same images and questions",
        "A: Primary, trained · B: Primary, untrained", "McNemar", "Williams", "+50.0",
        gain(paired_tests(models, PAIRS, DEFAULT)),
        "accuracy +50.0 points (+25.0 to +75.0, p = 0.031)",
    ):  # fmt: skip
        assert expected in text, expected
