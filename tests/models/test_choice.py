"""A choice is the likeliest whole reply; its candidates share one prompt and one image."""

from itertools import chain, groupby

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from qsit_ray.data.encode import Encoder, collate
from qsit_ray.models.choice import (
    answer,
    candidate_losses,
    probabilities,
    question_batch,
    question_length,
    question_prompt,
)
from qsit_ray.models.loss import row_losses, tensors
from qsit_ray.models.score import Prompter
from qsit_ray.prompts import multiple_choice_prompt

WORDS = ["noise", "blur", "the left half", "no", "snow on the roof of a house", "yes", ""]


def question(image, candidates, text="What is it?"):
    return {"question": text, "candidates": candidates, "img_path": image}


def apart(checkpoint, encoder, q):
    """Each candidate's loss as a row of its own, with its whole prompt."""
    prompt = multiple_choice_prompt(q["question"], q["candidates"])
    found = []
    for candidate in q["candidates"]:
        row = encoder.answer(q["img_path"], prompt, candidate)
        with torch.no_grad():
            found.append(row_losses(checkpoint.model, tensors(collate([row], 0)))[0].item())
    return found


@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(["a.png", "b.png"]),
            st.lists(st.sampled_from(WORDS), min_size=1, max_size=5, unique=True),
            st.sampled_from(["What?", "Which of these is worst in the picture, and why?"]),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_losses_after_a_shared_prompt_are_those_of_whole_rows(checkpoint, images, asked):
    encoder = Prompter(checkpoint.processor, images)
    questions = [question(*each) for each in asked]
    batch = question_batch(encoder, questions, [question_prompt(encoder, q) for q in questions], 0)
    losses = candidate_losses(checkpoint.model, tensors(batch))
    wanted = [loss for q in questions for loss in apart(checkpoint, encoder, q)]
    assert losses.tolist() == pytest.approx(wanted, abs=1e-4)
    for number, q in enumerate(questions):
        rest = sum(len(encoder.reply(candidate)) for candidate in q["candidates"])
        assert question_length(encoder, q) == batch["attention_mask"][number].sum() + rest


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"square": (300, 300), "wide": (400, 1300), "large": (1500, 1400), "thin": (60, 2000)}
    for name, size in sizes.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path, [f"{name}.png" for name in sizes]


def test_the_likeliest_whole_reply_is_chosen_within_any_tokens(wide, photographs):
    """Prompts of hundreds to thousands of tokens in one batch."""
    folder, names = photographs
    questions = [
        question(name, WORDS[number % 4 :][:4], f"Question {number}?")
        for number, name in enumerate([*names, *names[::-1]])
    ]
    encoder = Prompter(wide.processor, folder)
    wanted = [apart(wide, encoder, q) for q in questions]
    together = candidate_losses(
        wide.model,
        tensors(
            question_batch(encoder, questions, [question_prompt(encoder, q) for q in questions], 0)
        ),
    )
    assert together.tolist() == pytest.approx(list(chain(*wanted)), abs=1e-4)
    shares = [np.exp(-np.array(losses)) / np.exp(-np.array(losses)).sum() for losses in wanted]
    for tokens, threads in ((1, 0), (4_000, 0), (100_000, 0), (4_000, 2)):
        answers = answer(wide, questions, folder, batch_tokens=tokens, threads=threads)
        for of_one, share, losses in zip(answers, shares, wanted, strict=True):
            assert of_one == pytest.approx(share, abs=1e-5)
            assert of_one.argmax() == np.argmin(losses)


def test_losses_behind_those_of_the_questions_are_left_out():
    """A rank without a question computes another's, since all must make the same calls."""
    losses = torch.tensor([1.0, 2.0, 3.0])
    assert probabilities([], losses) == []
    (found,) = probabilities([question("a.png", ["yes", "no"])], losses)
    assert found == pytest.approx(np.exp([-1, -2]) / np.exp([-1, -2]).sum())


def test_images_are_read_as_they_are_asked_about_and_go_through_the_tower_once(
    wide, photographs, monkeypatch
):
    folder, names = photographs
    questions = [question(names[number % 4], WORDS[:4]) for number in range(12)]
    events, tiles = [], []
    picture = Encoder.picture

    def read(self, image, alone):
        events.append("read")
        return picture(self, image, alone)

    def forward(_tower, arguments):
        events.append("forward")
        tiles.append(len(arguments[0]))

    monkeypatch.setattr(Encoder, "picture", read)
    hook = wide.model.model.vision_tower.register_forward_pre_hook(forward)
    try:
        answer(wide, questions, folder, batch_tokens=4_000)
    finally:
        hook.remove()
    # Once a question, not once a candidate.
    assert events.count("read") == 12
    assert sum(tiles) == 3 * (2 + 3 + 5 + 3)
    waiting = [len(list(group)) for event, group in groupby(events) if event == "read"]
    assert max(waiting) <= 4_000 // 756
