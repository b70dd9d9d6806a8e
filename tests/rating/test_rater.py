"""One model, one set of numbers: whatever the batch, the order, the form of the image."""

import io

import numpy as np
import pytest
import torch
import wide_model
from PIL import Image, ImageSequence
from transformers import GenerationConfig

from qsit_ray.data.encode import IMAGE, collate
from qsit_ray.errors import InputError
from qsit_ray.models import choice, load
from qsit_ray.models.loss import tensors
from qsit_ray.models.score import level_logits
from qsit_ray.prompts import OFFICIAL, PAPER
from qsit_ray.rating import rater as module
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.results import Reject, Score
from qsit_ray.rating.view import View

SHAPES = [(64, 64), (300, 500), (500, 300), (200, 900), (384, 384), (60, 700), (800, 800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of many shapes, among them files that are no images."""
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number, shape in enumerate(SHAPES):
        pixels = rng.integers(0, 256, (*shape, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{number}.png")
    (made / "broken.png").write_bytes((made / "1.png").read_bytes()[:2000])
    (made / "text.jpg").write_text("no image")
    return made


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return load.load(wide_model.write(tmp_path_factory.mktemp("wide") / "base"), torch.float32)


def paths(folder):
    return [folder / f"{number}.png" for number in range(len(SHAPES))]


def test_a_score_does_not_depend_on_batch_order_or_window(wide, folder, monkeypatch):
    """On any-resolution tiles: from 756 to 3,645 tokens an image."""
    alone = [Rater(wide).score(path) for path in paths(folder)]
    known = {each.image: each.score for each in alone}
    spread = np.ptp(list(known.values()))
    monkeypatch.setattr(module, "WINDOW", 3)
    for tokens in (1, 8_000, 1 << 20):
        for order in (paths(folder), paths(folder)[::-1], paths(folder) * 3):
            found = list(Rater(wide, batch_tokens=tokens).scores(order))
            assert [each.image for each in found] == [str(path) for path in order]
            scores = [each.score for each in found]
            assert scores == pytest.approx([known[str(path)] for path in order], abs=1e-4)
    assert spread > 1e-3  # the images differ, so a mistaken order would be seen


def test_scores_are_those_of_the_evaluation(wide, folder):
    logits = level_logits(wide, [str(path) for path in paths(folder)])
    found = list(Rater(wide).scores(paths(folder)))
    assert [each.score for each in found] == pytest.approx(PAPER.score(logits), abs=1e-6)
    assert [each.rank_key for each in found] == pytest.approx(PAPER.rank_key(logits), abs=1e-5)
    for each in found:
        shares = np.array(list(each.probabilities.values()))
        assert list(each.probabilities) == list(PAPER.words)
        assert shares.sum() == pytest.approx(1)
        assert each.score == pytest.approx(shares @ PAPER.weights)
        assert each.entropy == pytest.approx(-(shares @ np.log(shares)))
        assert each.level == PAPER.words[shares.argmax()]
        assert each.to_row()["excellent"] == shares[-1]


def test_every_form_of_an_image_gives_one_score(checkpoint, folder):
    path = folder / "2.png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    pixels = np.asarray(picture)
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [
        str(path), path.read_bytes(), picture, pixels, pixels / 255, planes, planes / 255,
        f"file://{path}", planes.to(torch.float64) / 255,
    ]  # fmt: skip
    rater = Rater(checkpoint)
    expected = rater.score(path).score
    found = list(rater.scores(forms))
    assert [each.score for each in found] == pytest.approx([expected] * len(forms), abs=1e-5)
    assert [each.image for each in found][:3] == [str(path), "image 2", "image 3"]


def test_a_turned_photograph_is_scored_as_a_viewer_shows_it(checkpoint, folder):
    with Image.open(folder / "1.png") as opened:
        upright = opened.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    kept = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(kept, "png", exif=exif)
    rater = Rater(checkpoint)
    with Image.open(io.BytesIO(kept.getvalue())) as turned:
        assert rater.score(turned).score == pytest.approx(rater.score(upright).score, abs=1e-6)
    expected = rater.score(upright).score
    assert rater.score(kept.getvalue()).score == pytest.approx(expected, abs=1e-6)


def test_what_is_no_image_is_rejected_and_the_rest_is_scored(checkpoint, folder, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 4)
    bad = [
        folder / "broken.png", folder / "text.jpg", folder / "missing.png", folder, b"",
        "memory://nowhere.png", np.zeros((3, 4, 5)), np.full((8, 8, 3), 2.0), object(), None,
        torch.zeros(8, 8, 3), np.full((8, 8, 3), np.nan), "unknown://x.png",
    ]  # fmt: skip
    mixed = [part for each in bad for part in (each, folder / "0.png")]
    found = list(Rater(checkpoint).scores(mixed))
    assert len(found) == len(mixed)
    assert [type(each) for each in found] == [Reject, Score] * len(bad)
    assert all(reject.image in reject.reason for reject in found[::2])
    assert len({each.score for each in found[1::2]}) == 1
    with pytest.raises(InputError, match=r"missing\.png"):
        Rater(checkpoint).score(folder / "missing.png")


def test_no_images_give_no_scores_and_endless_ones_are_taken_as_they_come(checkpoint, folder):
    assert list(Rater(checkpoint).scores([])) == []

    def endless():
        while True:
            yield folder / "0.png"

    scores = Rater(checkpoint, batch_tokens=1).scores(endless())
    assert isinstance(next(scores), Score)
    scores.close()


def test_a_profile_has_its_own_range(checkpoint, folder):
    official = Rater(checkpoint, OFFICIAL)
    logits = level_logits(checkpoint, [str(folder / "0.png")], profile=OFFICIAL)
    found = official.score(folder / "0.png")
    assert found.score == pytest.approx(OFFICIAL.score(logits)[0])
    assert list(found.probabilities) == list(OFFICIAL.words)
    assert official.conditions["score_range"] == [0, 1]


@pytest.mark.parametrize("profile", [PAPER, OFFICIAL])
def test_questions_to_one_view_are_answered_as_alone(wide, folder, profile):
    """The image's keys and values are kept; the answers are those of whole prompts."""
    rater = Rater(wide, profile)
    view = rater.view(folder / "3.png")
    for question in ("Is it sharp?", "What is the worst distortion of this image, and why?"):
        reply = view.ask(question, most_tokens=12)
        row = rater.prompter.prompt(folder / "3.png", f"{IMAGE}\n{question}")
        batch = tensors(collate([row], 0))
        del batch["labels"]
        with torch.no_grad():
            whole = wide.model.generate(**batch, do_sample=False, max_new_tokens=12)
        expected = wide.processor.tokenizer.decode(
            whole[0, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        assert reply.text == expected.strip()
        assert (reply.question, reply.image) == (question, str(folder / "3.png"))
        assert rater.ask(folder / "3.png", question, most_tokens=12) == reply


@pytest.mark.parametrize("profile", [PAPER, OFFICIAL])
def test_choices_of_one_view_are_the_evaluations(wide, folder, profile):
    rater = Rater(wide, profile)
    view = rater.view(folder / "5.png")
    asked = [("What is it?", ["noise", "blur", "a cat on the roof"]), ("Sharp?", ["yes", "no"])]
    for text, candidates in asked * 2:
        found = view.choose(text, candidates)
        question = {"question": text, "candidates": candidates, "img_path": folder / "5.png"}
        (expected,) = choice.answer(wide, [question], profile=profile)
        assert list(found.probabilities) == candidates
        assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        assert found.answer == candidates[expected.argmax()]
    with pytest.raises(InputError, match="two or more different candidates"):
        view.choose("Sharp?", ["yes"])


@pytest.mark.parametrize("profile", [PAPER, OFFICIAL])
@pytest.mark.parametrize("least", [1, 10**6])
def test_questions_of_a_catalog_are_answered_as_alone(wide, folder, monkeypatch, profile, least):
    """Whether an image is read once for all its questions, or for each; in their own order."""
    monkeypatch.setattr(module, "READ_ONCE", least)
    asked = [
        {"question": text, "candidates": candidates, "img_path": f"{image}.png"}
        for text, candidates in (("Sharp?", ["yes", "no"]), ("What is it?", ["noise", "a blur"]))
        for image in (5, 3, 5)
    ]
    rater = Rater(wide, profile)
    found = rater.answers(asked, folder)
    for question, each in zip(asked, found, strict=True):
        path = folder / question["img_path"]
        alone = rater.choose(path, question["question"], question["candidates"])
        assert (each.image, each.question) == (question["img_path"], question["question"])
        assert each.answer == alone.answer
        assert each.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_a_large_image_is_read_once_for_all_its_questions(wide, folder, monkeypatch):
    read = []
    monkeypatch.setattr(module, "READ_ONCE", 1)
    monkeypatch.setattr(module, "View", lambda *given: read.append(given[-1]) or View(*given))
    asked = [
        {"question": text, "candidates": ["yes", "no"], "img_path": image}
        for text in ("Sharp?", "Noisy?", "Dark?")
        for image in ("3.png", "5.png")
    ]
    once = {"question": "Sharp?", "candidates": ["yes", "no"], "img_path": "0.png"}
    assert len(Rater(wide).answers([*asked, once], folder)) == 7
    assert read == ["3.png", "5.png"]


def test_an_answer_is_whole_or_cut(checkpoint, folder):
    reply = Rater(checkpoint).describe(folder / "0.png", most_tokens=3)
    assert not reply.is_whole
    with pytest.raises(InputError, match="at least 1"):
        Rater(checkpoint).ask(folder / "0.png", "Sharp?", most_tokens=0)
    with pytest.raises(InputError, match=f"{IMAGE} once"):
        Rater(checkpoint).ask(folder / "0.png", f"{IMAGE} Sharp?")


def test_frames_that_use_one_buffer_have_scores_of_their_own(checkpoint, tmp_path):
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (64, 64, 3), np.uint8) // (n + 1) for n in range(3)]
    rater = Rater(checkpoint)
    expected = [rater.score(frame).score for frame in frames]
    assert len(set(expected)) == 3
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(tmp_path / "f.tiff", save_all=True, append_images=pictures[1:])
    with Image.open(tmp_path / "f.tiff") as film:
        found = [each.score for each in rater.scores(ImageSequence.Iterator(film))]
    assert found == pytest.approx(expected, abs=1e-5)
    buffer = np.empty((64, 64, 3), np.uint8)

    def video():
        for frame in frames:
            buffer[:] = frame
            yield buffer

    assert [each.score for each in rater.scores(video())] == pytest.approx(expected, abs=1e-5)


def test_answers_do_not_follow_the_checkpoints_settings(wide, folder):
    view = Rater(wide).view(folder / "3.png")
    plain = view.ask("Is it sharp?", most_tokens=12)
    settings = wide.model.generation_config
    wide.model.generation_config = GenerationConfig(
        repetition_penalty=5.0, no_repeat_ngram_size=1, do_sample=True, temperature=9.0
    )
    try:
        assert view.ask("Is it sharp?", most_tokens=12) == plain
        assert wide.model.generation_config.repetition_penalty == 5.0
    finally:
        wide.model.generation_config = settings


def test_logits_that_are_not_finite_are_one_images_reject(checkpoint, folder, monkeypatch):
    monkeypatch.setattr(
        module,
        "logits_or_errors",
        lambda *_, **__: iter([(0, np.full(5, np.nan)), (1, np.zeros(5))]),
    )
    first, second = Rater(checkpoint).scores([folder / "0.png", folder / "1.png"])
    assert isinstance(first, Reject) and "0.png" in first.reason
    assert second.score == pytest.approx(3)
