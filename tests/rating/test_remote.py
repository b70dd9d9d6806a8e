"""A model behind OpenAI's protocol gives the numbers that it gives here."""

import base64
import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vllm_server import MODEL, completion, planted_levels

from qsit_ray.errors import InputError
from qsit_ray.models.score import level_logits
from qsit_ray.prompts import OFFICIAL, PAPER
from qsit_ray.rating import remote
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.remote import RemoteRater
from qsit_ray.rating.results import Reject, Score

PAGE = (Path(__file__).parents[2] / "docs" / "USE.md").read_text()
(OFFICIAL_TEMPLATE,) = re.findall(r"```jinja\n(.*?)```", PAGE, re.DOTALL)


def rater_of(server, profile="paper"):
    return RemoteRater.load(server.url, MODEL, profile)


@pytest.mark.parametrize("form", ["new", "old"])
def test_scores_are_those_of_the_model_here(checkpoint, serve, mixed_images, form):
    """vLLM gives the level tokens by `logprob_token_ids`; before it had that, by
    `allowed_token_ids` in the mode of processed log-probabilities."""
    old = {"old": True, "mode": "processed_logprobs"} if form == "old" else {}
    paths = sorted(mixed_images.iterdir())
    expected = list(Rater(checkpoint).scores(paths))
    assert np.ptp([each.score for each in expected]) > 1e-3
    server = serve(**old)
    found = list(rater_of(server).scores(paths))
    assert [each.image for each in found] == [each.image for each in expected]
    for here, there in zip(expected, found, strict=True):
        assert there.score == pytest.approx(here.score, abs=1e-6), here.image
        assert there.rank_key == pytest.approx(here.rank_key, abs=1e-5)
        assert there.probabilities == pytest.approx(here.probabilities, abs=1e-6)
        assert (there.std, there.entropy) == pytest.approx((here.std, here.entropy), abs=1e-6)


def test_the_official_profile_needs_its_own_chat_template(checkpoint, serve, mixed_images):
    with pytest.raises(InputError, match=r"another prompt than the profile official's"):
        rater_of(serve(), "official")
    with pytest.raises(InputError, match=r"another prompt than the profile paper's"):
        rater_of(serve(template=OFFICIAL_TEMPLATE))
    server = serve(template=OFFICIAL_TEMPLATE)
    found = rater_of(server, "official").score(mixed_images / "1.png")
    expected = OFFICIAL.score(
        level_logits(checkpoint, [str(mixed_images / "1.png")], profile=OFFICIAL)
    )
    assert found.score == pytest.approx(expected[0], abs=1e-6)


def test_every_form_of_an_image_gives_one_score(checkpoint, serve, mixed_images):
    path = mixed_images / "2.png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    pixels = np.asarray(picture)
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [str(path), path.read_bytes(), picture, pixels, pixels / 255, planes, f"file://{path}"]
    expected = Rater(checkpoint).score(path).score
    found = list(rater_of(serve()).scores(forms))
    assert [each.score for each in found] == pytest.approx([expected] * len(forms), abs=1e-6)
    assert [each.image for each in found][:3] == [str(path), "image 2", "image 3"]


def test_a_transparent_colour_is_ignored_as_transparent_pixels_are(checkpoint, mixed_images):
    """Whatever the file says of transparency, its colours are what is scored."""
    with Image.open(mixed_images / "palette.png") as opened:
        colours = np.asarray(opened.convert("RGB"))
    rater = Rater(checkpoint)
    assert rater.score(mixed_images / "palette.png").score == rater.score(colours).score


def test_plain_files_are_sent_as_they_are(serve, mixed_images):
    server = serve()
    plain = ["1.png", "plain.jpg", "plain.webp", "grey.png"]
    others = ["turned.jpg", "picture.bmp", "print.jpg", "clear.png", "palette.png", "deep.png"]
    list(rater_of(server).scores([mixed_images / name for name in plain + others]))
    sent = set()
    for request in server.requests:
        (part,) = [p for p in request["messages"][0]["content"] if p["type"] == "image_url"]
        sent.add(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
    for name in plain:
        assert (mixed_images / name).read_bytes() in sent
    for name in others:
        assert (mixed_images / name).read_bytes() not in sent
    kinds = {Image.open(io.BytesIO(content)).mode for content in sent}
    assert kinds == {"RGB", "L"}


@pytest.mark.parametrize("shift", [0.0, -3.25, -700.0])
def test_planted_logprobs_up_to_a_constant(serve, mixed_images, shift):
    values = np.log([0.05, 0.1, 0.15, 0.3, 0.4])
    server = serve(lambda number, request: planted_levels(values + shift), tokenizes=False)
    found = rater_of(server).score(mixed_images / "0.png")
    assert found.score == pytest.approx(0.05 + 0.2 + 0.45 + 1.2 + 2.0)
    assert list(found.probabilities.values()) == pytest.approx([0.05, 0.1, 0.15, 0.3, 0.4])
    assert found.rank_key == pytest.approx(float(PAPER.rank_key(values)), abs=1e-9)


def test_an_endpoint_without_a_tokenizer_is_read_by_text(checkpoint, serve, mixed_images):
    """A trained model has the five words among the twenty likeliest, which this one has not."""
    server = serve(tokenizes=False)
    rater = rater_of(server)
    assert rater.conditions["level_words"] == "by text"
    (found,) = rater.scores([mixed_images / "0.png"])
    assert isinstance(found, Reject)
    (request,) = server.requests
    assert "logprob_token_ids" not in request and "allowed_token_ids" not in request
    with pytest.raises(InputError, match="no /tokenize"):
        rater.choose(mixed_images / "0.png", "Sharp?", ["yes", "no"])


def test_order_is_kept_and_calls_are_bounded(serve, mixed_images, monkeypatch):
    """Every other call waits for one that comes later."""
    monkeypatch.setattr(remote, "CALLS", 3)
    later = threading.Semaphore(0)

    def act(number, request):
        if number % 2 == 0:
            later.acquire(timeout=20)
        elif number > 2:
            later.release()
        url = next(p for p in request["messages"][0]["content"] if p["type"] == "image_url")
        side = Image.open(io.BytesIO(base64.b64decode(url["image_url"]["url"].split(",")[1]))).width
        return planted_levels([0, 0, 0, 0, float(side)])

    server = serve(act, tokenizes=False)
    widths = [n % 7 for n in range(1, 22)]
    images = [Image.new("RGB", (width + 1, 2)) for width in widths]
    found = list(rater_of(server).scores(images))
    best = [each.probabilities["excellent"] for each in found]
    assert best == pytest.approx([np.exp(w + 1) / (4 + np.exp(w + 1)) for w in widths])
    assert server.most_at_once <= 3


def test_endless_images_are_taken_as_they_come(serve, mixed_images):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield mixed_images / "0.png"

    scores = rater_of(serve()).scores(endless())
    assert isinstance(next(scores), Score)
    scores.close()
    assert len(taken) == 1
    assert list(rater_of(serve()).scores([])) == []


def test_frames_that_use_one_buffer_have_scores_of_their_own(serve):
    buffer = np.empty((64, 64, 3), np.uint8)
    frames = [np.full_like(buffer, value) for value in (0, 90, 250)]

    def video():
        for frame in frames:
            buffer[:] = frame
            yield buffer

    rater = rater_of(serve())
    expected = [rater.score(frame).score for frame in frames]
    assert [each.score for each in rater.scores(video())] == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) == 3


def test_answers_are_those_of_the_model_here(checkpoint, serve, mixed_images):
    server = serve()
    here, there = Rater(checkpoint), rater_of(server)
    image = mixed_images / "turned.jpg"
    for question in ("Is it sharp?", "What is the worst distortion of this image, and why?"):
        expected = here.ask(image, question, most_tokens=9)
        assert there.ask(image, question, most_tokens=9) == expected
    assert there.describe(image, most_tokens=5) == here.describe(image, most_tokens=5)
    request = server.requests[-1]
    assert (request["temperature"], request["max_tokens"]) == (0, 5)
    assert request["repetition_penalty"] == 1.0  # whatever generation_config.json says


def test_an_answer_is_whole_where_the_server_says_so(serve, mixed_images):
    def act(number, request):
        found = completion({"x": -1.0}, " A sharp image. ")
        found["choices"][0]["finish_reason"] = "stop" if number == 1 else "length"
        return found

    view = rater_of(serve(act)).view(mixed_images / "0.png")
    whole, cut = view.describe(), view.describe()
    assert (whole.text, whole.is_whole, cut.is_whole) == ("A sharp image.", True, False)
    with pytest.raises(InputError, match="at least 1"):
        view.ask("Sharp?", most_tokens=0)


def test_choices_are_those_of_the_model_here(checkpoint, serve, mixed_images):
    here, there = Rater(checkpoint), rater_of(serve())
    asked = [("What is it?", ["noise", "blur", "a cat on the roof"]), ("Sharp?", ["yes", "no"])]
    for question, candidates in asked:
        expected = here.choose(mixed_images / "2.png", question, candidates)
        found = there.choose(mixed_images / "2.png", question, candidates)
        assert found.answer == expected.answer
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    with pytest.raises(InputError, match="two or more different candidates"):
        there.choose(mixed_images / "2.png", "Sharp?", ["yes"])


def test_choices_and_answers_under_the_official_profile_are_those_here(
    checkpoint, serve, mixed_images
):
    there = rater_of(serve(template=OFFICIAL_TEMPLATE), "official")
    here = Rater(checkpoint, OFFICIAL)
    expected = here.choose(mixed_images / "2.png", "Sharp?", ["yes", "no"])
    found = there.choose(mixed_images / "2.png", "Sharp?", ["yes", "no"])
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert there.ask(mixed_images / "2.png", "Sharp?", 4) == here.ask(
        mixed_images / "2.png", "Sharp?", 4
    )
