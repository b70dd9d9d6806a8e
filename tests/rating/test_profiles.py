"""A model that was trained with other prompts is asked with them, wherever it goes."""

import json

import numpy as np
import pytest
from PIL import Image
from vllm_server import MODEL, Server

from qsit_ray import profiles
from qsit_ray.config.prompts import Prompts
from qsit_ray.errors import InputError
from qsit_ray.levels import expected_score
from qsit_ray.models import load
from qsit_ray.models.score import level_logits
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.remote import RemoteRater

OWN = Prompts(
    question="<image>\nHow beautiful is it?",
    stem="Its beauty is",
    levels=("bleak", "fair", "good", "great", "excellent"),
    choice="<image>\n{options}\n{question}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (64, 90, 3), np.uint8)).save(made / name)
    return made


@pytest.fixture
def model(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path / "model")
    profiles.write(tmp_path / "model", OWN)
    return tmp_path / "model"


def test_a_folder_is_scored_with_its_own_prompts(checkpoint, model, folder):
    rater = Rater.load(model)
    found = rater.score(folder / "a.png")
    assert [*found.probabilities] == [*OWN.levels]
    logits = level_logits(checkpoint, ["a.png"], folder, profile=OWN.profile)
    assert found.score == pytest.approx(expected_score(logits)[0], abs=1e-5)
    assert rater.conditions["profile"] == "own"
    papers = Rater.load(model, "paper").score(folder / "a.png")
    assert [*papers.probabilities] == ["bad", "poor", "fair", "good", "excellent"]
    assert papers.score != pytest.approx(found.score, abs=1e-4)


def test_closed_questions_are_asked_in_its_form(model, folder):
    """By an image at hand and by a catalog's question alike."""
    asked = {
        "type": 0, "concern": 0, "question": "Sharp?", "img_path": "a.png",
        "candidates": ["yes", "no", "in part"], "correct_ans": "no",
    }  # fmt: skip
    mine = Rater.load(model)
    (listed,) = mine.answers([asked], folder)
    shown = mine.choose(folder / "a.png", "Sharp?", asked["candidates"])
    assert shown.probabilities == pytest.approx(listed.probabilities, abs=1e-5)
    papers = Rater.load(model, "paper").choose(folder / "a.png", "Sharp?", asked["candidates"])
    assert papers.probabilities != pytest.approx(shown.probabilities, abs=1e-4)


def test_a_server_is_asked_with_the_file(checkpoint, model, folder):
    server = Server(checkpoint)
    try:
        there = RemoteRater.load(server.url, MODEL, str(model / profiles.FILE))
        here = Rater.load(model)
        for name in ("a.png", "b.png"):
            expected, found = here.score(folder / name), there.score(folder / name)
            assert found.score == pytest.approx(expected.score, abs=1e-6)
        chosen = [each.choose(folder / "a.png", "Sharp?", ["yes", "no"]) for each in (here, there)]
        assert chosen[0].probabilities == pytest.approx(chosen[1].probabilities, abs=1e-5)
    finally:
        server.close()


def test_a_folder_without_a_profile_has_the_papers(checkpoint, tmp_path):
    profiles.write(tmp_path, Prompts())
    assert not (tmp_path / profiles.FILE).exists()
    assert profiles.of(tmp_path) is Prompts().profile


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"levels": ["a", "b"]}', "levels"),
        ('{"stem": 3}', "stem"),
        ('{"words": []}', "words"),
        ("[]", "profile.json"),
        ("{", "profile.json"),
    ],
)
def test_a_broken_profile_is_told_by_its_file(tmp_path, content, said):
    (tmp_path / profiles.FILE).write_text(content)
    with pytest.raises(InputError, match=said) as found:
        profiles.of(tmp_path)
    assert str(tmp_path / profiles.FILE) in str(found.value)


def test_json_of_a_profile_is_what_the_configuration_has(tmp_path):
    profiles.write(tmp_path, OWN)
    assert json.loads((tmp_path / profiles.FILE).read_text()) == OWN.model_dump(mode="json")
    assert profiles.of(tmp_path) == OWN.profile
