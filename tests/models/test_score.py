"""Scores follow Eq. 4 at the level position; a choice is the likeliest candidate."""

import numpy as np
import pytest
import torch
from PIL import Image

from qsit_ray.data.demo_questions import multiple_choice_prompt
from qsit_ray.data.encode import Encoder, collate
from qsit_ray.levels import LEVELS
from qsit_ray.models import score
from qsit_ray.models.loss import tensors


def test_level_words_have_tokens_of_their_own(checkpoint):
    tokenizer = checkpoint.processor.tokenizer
    tokens = score.level_tokens(tokenizer)
    assert [tokenizer.decode([t]) for t in tokens] == [f" {word}" for word in LEVELS]


def test_words_that_share_their_first_token_are_refused(checkpoint):
    profile = score.Profile("Q\n<image>", "It is", ("good", "good enough"))
    with pytest.raises(ValueError, match="'good' and 'good enough' begin with the same token"):
        score.level_tokens(checkpoint.processor.tokenizer, profile)


def test_probabilities_are_the_models_at_the_level_position(checkpoint, images):
    got = score.level_probabilities(checkpoint, ["a.png", "b.png"], images)
    assert got.shape == (2, 5) and got.dtype == np.float64
    assert got.sum(axis=1) == pytest.approx(1)
    with Image.open(images / "b.png") as image:
        assert score.level_probabilities(checkpoint, [image]) == pytest.approx(got[1:], abs=1e-6)
    row = Encoder(checkpoint.processor, images, 512).prompt(
        "b.png", score.PAPER.question, score.PAPER.stem
    )
    with torch.no_grad():
        logits = checkpoint.model(**tensors(collate([row], 0))).logits[0, -1].double()
    words = score.level_tokens(checkpoint.processor.tokenizer)
    assert got[1] == pytest.approx(torch.softmax(logits[words], 0).numpy(), abs=1e-5)


def test_images_of_any_batch_score_alike(checkpoint, images):
    names = ["a.png", "b.png", "a.png"]
    one = score.level_probabilities(checkpoint, names, images, batch_size=1)
    assert score.level_probabilities(checkpoint, names, images) == pytest.approx(one, abs=1e-5)


def test_the_likeliest_whole_reply_is_chosen(checkpoint, images):
    candidates = ["noise", "the left half", "snow", "no"]
    questions = [
        {"question": "What is it?", "candidates": candidates, "img_path": "a.png"},
        {"question": "Is it so?", "candidates": candidates[::-1], "img_path": "b.png"},
    ]
    encoder = Encoder(checkpoint.processor, images, 512)
    expected = []
    for q in questions:
        prompt = multiple_choice_prompt(q["question"], q["candidates"])
        likelihoods = []
        for candidate in q["candidates"]:
            batch = tensors(collate([encoder.answer(q["img_path"], prompt, candidate)], 0))
            labels = batch.pop("labels")[0, 1:]
            with torch.no_grad():
                logs = torch.log_softmax(checkpoint.model(**batch).logits[0, :-1], dim=-1)
            at = (labels != -100).nonzero()[:, 0]
            likelihoods.append(float(logs[at, labels[at]].sum()))
        expected.append(int(np.argmax(likelihoods)))
    assert score.choose(checkpoint, questions, images) == expected
    assert score.choose(checkpoint, questions, images, batch_size=1) == expected


def test_the_prompt_lists_the_options():
    assert multiple_choice_prompt("How?", ["a", "b"]) == (
        "<image>\nHow?\nA. a\nB. b\nAnswer with the text of one option."
    )
