"""Level logits are the model's at the level position; a choice is the likeliest candidate."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from qsit_ray.data.encode import Encoder, collate
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS, level_probabilities
from qsit_ray.models import score
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import row_losses, tensors
from qsit_ray.prompts import (
    OFFICIAL,
    PAPER,
    PROFILES,
    Profile,
    level_tokens,
)


def test_level_words_have_tokens_of_their_own(checkpoint):
    tokenizer = checkpoint.processor.tokenizer
    tokens = level_tokens(tokenizer)
    assert [tokenizer.decode([t]) for t in tokens] == [f" {word}" for word in LEVELS]


def test_a_tokenizer_that_confuses_levels_is_refused_before_any_image_is_read(checkpoint):
    profile = Profile("mine", "Q\n<image>", "It is", ("good", "good enough"), (0.0, 1.0))
    with pytest.raises(InputError, match="'good' and 'good enough' begin with the same token"):
        score.level_logits(checkpoint, ["missing.png"], profile=profile)


def test_probabilities_are_the_models_at_the_level_position(checkpoint, images):
    got = level_probabilities(score.level_logits(checkpoint, ["a.png", "b.png"], images))
    assert got.shape == (2, 5) and got.dtype == np.float64
    assert got.sum(axis=1) == pytest.approx(1)
    with Image.open(images / "b.png") as image:
        logits = score.level_logits(checkpoint, [image])
    assert level_probabilities(logits) == pytest.approx(got[1:], abs=1e-6)
    row = Encoder(checkpoint.processor, images, 512).prompt("b.png", PAPER.question, PAPER.stem)
    with torch.no_grad():
        logits = checkpoint.model(**tensors(collate([row], 0))).logits[0, -1].double()
    words = level_tokens(checkpoint.processor.tokenizer)
    assert got[1] == pytest.approx(torch.softmax(logits[words], 0).numpy(), abs=1e-5)


def test_images_of_any_batch_score_alike(checkpoint, images):
    names = ["a.png", "b.png", "a.png"]
    one = score.level_logits(checkpoint, names, images, batch_tokens=1)
    assert score.level_logits(checkpoint, names, images) == pytest.approx(one, abs=1e-4)
    ahead = score.level_logits(checkpoint, names, images, batch_tokens=1, threads=2)
    assert np.array_equal(ahead, one)


def test_images_of_any_shape_score_alike_within_any_tokens(wide, tmp_path):
    """Images of one to four tiles, from 756 to 3,645 tokens: each at its place."""
    rng = np.random.default_rng(0)
    sizes = [(300, 300), (1500, 1400), (200, 900), (900, 200), (380, 380), (60, 2000)]
    photographs = [Image.fromarray(rng.integers(0, 255, (*s, 3), np.uint8)) for s in sizes]
    prompter = score.Prompter(wide.processor, tmp_path)
    for image in photographs:
        length = prompter.score_length(image)
        assert length == len(prompter.score_prompt(image)["input_ids"])
    one = [score.level_logits(wide, [image])[0] for image in photographs]
    for tokens in (1, 4_000, 16_384):
        seen = []
        hook = wide.model.model.language_model.register_forward_pre_hook(
            lambda _, __, kwargs, seen=seen: seen.append(kwargs["inputs_embeds"].shape[:2]),
            with_kwargs=True,
        )
        found = score.level_logits(wide, photographs, batch_tokens=tokens)
        hook.remove()
        assert found == pytest.approx(np.array(one), abs=1e-4)
        assert sum(rows for rows, _ in seen) == len(sizes)
        assert all(rows * length <= tokens or rows == 1 for rows, length in seen)


def test_the_losses_forward_gives_the_level_logits_too(checkpoint, images):
    encoder = Encoder(checkpoint.processor, images, 512)
    stem = checkpoint.processor.tokenizer(PAPER.stem)["input_ids"]
    answers = [f"{PAPER.stem} good.", f"{PAPER.stem} poor, I think."]
    rows = [
        encoder.answer(name, PAPER.question, answer)
        for name, answer in zip(["a.png", "b.png"], answers, strict=True)
    ]
    batch = tensors(collate(rows, 0))
    first = (batch["labels"] != -100).int().argmax(dim=1)
    batch["level_at"] = first + len(stem) - 1
    words = level_tokens(checkpoint.processor.tokenizer)
    sums, counts, logits = score.losses_and_levels(checkpoint.model, batch, words)
    with torch.no_grad():
        wanted = row_losses(checkpoint.model, batch)
    assert torch.equal(sums, wanted[0]) and torch.equal(counts, wanted[1])
    expected = score.level_logits(checkpoint, ["a.png", "b.png"], images)
    assert logits.numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_scores_weigh_the_levels(checkpoint, images, profile):
    names = ["a.png", "b.png"]
    logits = score.level_logits(checkpoint, names, images, profile=profile)
    got = profile.score(logits)
    assert got.shape == (2,) and logits.dtype == got.dtype == np.float64
    assert got == pytest.approx(level_probabilities(logits) @ np.array(profile.weights))
    assert np.argsort(got).tolist() == np.argsort(profile.rank_key(logits)).tolist()


def test_the_default_is_the_papers_profile(checkpoint, images):
    logits = score.level_logits(checkpoint, ["a.png"], images)
    assert np.array_equal(logits, score.level_logits(checkpoint, ["a.png"], images, profile=PAPER))


def test_the_official_prompt_is_the_released_scripts(checkpoint, images):
    tokenizer = checkpoint.processor.tokenizer
    row = score.Prompter(checkpoint.processor, images, OFFICIAL).score_prompt("a.png")
    shown = row["input_ids"].tolist()
    image = checkpoint.processor.image_token_id
    first = shown.index(image)
    count = shown.count(image)
    assert shown[first : first + count] == [image] * count
    text = (
        "<|im_start|>user <image>\nAssume you are an image quality evaluator. \n"
        "Your rating should be chosen from the following five categories: "
        "Excellent, Good, Fair, Poor, and Bad (from high to low). \n"
        "How would you rate the quality of this image?<|im_end|><|im_start|>assistant\n"
    )
    # The scripts tokenise the beginning of the answer apart and put it behind.
    expected = [
        *tokenizer(text, add_special_tokens=False)["input_ids"],
        *tokenizer("The quality of this image is ", add_special_tokens=False)["input_ids"],
    ]
    assert shown[: first + 1] + shown[first + count :] == expected


def test_the_papers_prompt_is_that_of_training_rows(checkpoint, images):
    conversation = [
        {"from": "human", "value": PAPER.question},
        {"from": "gpt", "value": f"{PAPER.stem} good."},
    ]
    prompter = score.Prompter(checkpoint.processor, images)
    trained = prompter.encode({"images": [{"path": "a.png"}], "conversation": conversation})[
        "input_ids"
    ]
    asked = prompter.score_prompt("a.png")["input_ids"]
    assert trained[: len(asked)].tolist() == asked.tolist()
    good = level_tokens(checkpoint.processor.tokenizer)[LEVELS.index("good")]
    assert trained[len(asked)] == good


def test_half_precision_heads_do_not_round_the_logits(checkpoint, images):
    """In bfloat16 the logits are no multiples of a bfloat16 step."""
    model = checkpoint.model
    half = Checkpoint(copy.deepcopy(model).to(torch.bfloat16), checkpoint.processor, "")
    logits = torch.from_numpy(score.level_logits(half, ["a.png", "b.png"], images))
    assert not torch.equal(logits.to(torch.bfloat16).double(), logits)
    full = score.level_logits(checkpoint, ["a.png", "b.png"], images)
    assert logits.numpy() == pytest.approx(full, abs=0.2)
