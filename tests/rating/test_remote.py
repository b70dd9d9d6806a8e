"""A model behind OpenAI's protocol gives the numbers that it gives here."""

import base64
import io
import json
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from vllm_server import MODEL, Server

from qsit_ray.errors import InputError
from qsit_ray.models.score import level_logits
from qsit_ray.prompts import OFFICIAL, PAPER
from qsit_ray.rating import remote
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.remote import RemoteRater
from qsit_ray.rating.results import Reject, Score

KEY = "sk-very-secret-0123456789"
PAGE = (Path(__file__).parents[2] / "docs" / "USE.md").read_text()
(OFFICIAL_TEMPLATE,) = re.findall(r"```jinja\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images that servers read in other ways than this project, were they sent as they are."""
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(64, 64), (300, 500), (500, 300), (70, 64), (90, 80)]):
        pixels = rng.integers(0, 256, (*shape, 3), np.uint8) // (number + 1)
        Image.fromarray(pixels).save(made / f"{number}.png")
    with Image.open(made / "1.png") as opened:
        picture = opened.convert("RGB")
    turn = Image.Exif()
    turn[0x0112] = 6
    picture.save(made / "plain.jpg", quality=90)
    picture.save(made / "turned.jpg", quality=90, exif=turn)
    picture.save(made / "plain.webp", lossless=True)
    picture.save(made / "picture.bmp")
    picture.convert("L").save(made / "grey.png")
    picture.convert("CMYK").save(made / "print.jpg")
    clear = rng.integers(0, 256, (60, 70, 4), np.uint8)
    Image.fromarray(clear, "RGBA").save(made / "clear.png")
    palette = picture.convert("P")
    palette.save(made / "palette.png", transparency=3)
    Image.fromarray(rng.integers(0, 65536, (60, 70)).astype(np.uint16)).save(made / "deep.png")
    return made


@pytest.fixture
def serve(checkpoint):
    servers = []

    def start(*given, **named):
        servers.append(Server(checkpoint, *given, **named))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def rater_of(server, profile="paper"):
    return RemoteRater.load(server.url, MODEL, profile)


def body(logprobs, text=" fair"):
    """A chat completion with these log-probabilities, {token: value}."""
    entries = [{"token": name, "logprob": value} for name, value in logprobs.items()]
    content = [{**entries[0], "top_logprobs": entries}] if entries else []
    message = {"role": "assistant", "content": text}
    choice = {"message": message, "finish_reason": "length", "logprobs": {"content": content}}
    return {"choices": [choice]}


def planted(values):
    return body({f" {word}": value for word, value in zip(PAPER.words, values, strict=True)})


def names(found):
    return [each.image for each in found]


@pytest.mark.parametrize("form", ["new", "old"])
def test_scores_are_those_of_the_model_here(checkpoint, serve, folder, form):
    """vLLM gives the level tokens by `logprob_token_ids`; before it had that, by
    `allowed_token_ids` in the mode of processed log-probabilities."""
    old = {"old": True, "mode": "processed_logprobs"} if form == "old" else {}
    paths = sorted(folder.iterdir())
    expected = list(Rater(checkpoint).scores(paths))
    assert np.ptp([each.score for each in expected]) > 1e-3
    server = serve(**old)
    found = list(rater_of(server).scores(paths))
    assert names(found) == names(expected)
    for here, there in zip(expected, found, strict=True):
        assert there.score == pytest.approx(here.score, abs=1e-6), here.image
        assert there.rank_key == pytest.approx(here.rank_key, abs=1e-5)
        assert there.probabilities == pytest.approx(here.probabilities, abs=1e-6)
        assert (there.std, there.entropy) == pytest.approx((here.std, here.entropy), abs=1e-6)


def test_the_official_profile_needs_its_own_chat_template(checkpoint, serve, folder):
    with pytest.raises(InputError, match=r"another prompt than the profile official's"):
        rater_of(serve(), "official")
    with pytest.raises(InputError, match=r"another prompt than the profile paper's"):
        rater_of(serve(template=OFFICIAL_TEMPLATE))
    server = serve(template=OFFICIAL_TEMPLATE)
    found = rater_of(server, "official").score(folder / "1.png")
    expected = OFFICIAL.score(level_logits(checkpoint, [str(folder / "1.png")], profile=OFFICIAL))
    assert found.score == pytest.approx(expected[0], abs=1e-6)


def test_a_template_that_puts_the_image_first_is_refused(serve):
    """As many published ones do; the paper's question stands before its image."""
    template = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
        "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}"
        "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    server = serve(template=template)
    with pytest.raises(InputError, match="--chat-template"):
        rater_of(server)
    assert server.requests == []


def test_every_form_of_an_image_gives_one_score(checkpoint, serve, folder):
    path = folder / "2.png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    pixels = np.asarray(picture)
    planes = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [str(path), path.read_bytes(), picture, pixels, pixels / 255, planes, f"file://{path}"]
    expected = Rater(checkpoint).score(path).score
    found = list(rater_of(serve()).scores(forms))
    assert [each.score for each in found] == pytest.approx([expected] * len(forms), abs=1e-6)
    assert names(found)[:3] == [str(path), "image 2", "image 3"]


def test_a_transparent_colour_is_ignored_as_transparent_pixels_are(checkpoint, folder):
    """Whatever the file says of transparency, its colours are what is scored."""
    with Image.open(folder / "palette.png") as opened:
        colours = np.asarray(opened.convert("RGB"))
    rater = Rater(checkpoint)
    assert rater.score(folder / "palette.png").score == rater.score(colours).score


def test_plain_files_are_sent_as_they_are(serve, folder):
    server = serve()
    plain = ["1.png", "plain.jpg", "plain.webp", "grey.png"]
    others = ["turned.jpg", "picture.bmp", "print.jpg", "clear.png", "palette.png", "deep.png"]
    list(rater_of(server).scores([folder / name for name in plain + others]))
    sent = set()
    for request in server.requests:
        (part,) = [p for p in request["messages"][0]["content"] if p["type"] == "image_url"]
        sent.add(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
    for name in plain:
        assert (folder / name).read_bytes() in sent
    for name in others:
        assert (folder / name).read_bytes() not in sent
    kinds = {Image.open(io.BytesIO(content)).mode for content in sent}
    assert kinds == {"RGB", "L"}


@pytest.mark.parametrize("shift", [0.0, -3.25, -700.0])
def test_planted_logprobs_up_to_a_constant(serve, folder, shift):
    values = np.log([0.05, 0.1, 0.15, 0.3, 0.4])
    server = serve(lambda number, request: planted(values + shift), tokenizes=False)
    found = rater_of(server).score(folder / "0.png")
    assert found.score == pytest.approx(0.05 + 0.2 + 0.45 + 1.2 + 2.0)
    assert list(found.probabilities.values()) == pytest.approx([0.05, 0.1, 0.15, 0.3, 0.4])
    assert found.rank_key == pytest.approx(float(PAPER.rank_key(values)), abs=1e-9)


def test_an_endpoint_without_a_tokenizer_is_read_by_text(checkpoint, serve, folder):
    """A trained model has the five words among the twenty likeliest, which this one has not."""
    server = serve(tokenizes=False)
    rater = rater_of(server)
    assert rater.conditions["level_words"] == "by text"
    (found,) = rater.scores([folder / "0.png"])
    assert isinstance(found, Reject)
    (request,) = server.requests
    assert "logprob_token_ids" not in request and "allowed_token_ids" not in request
    with pytest.raises(InputError, match="no /tokenize"):
        rater.choose(folder / "0.png", "Sharp?", ["yes", "no"])


def test_a_missing_word_is_that_images_reject(serve, folder):
    def act(number, request):
        if number == 1:
            return planted([-1, -2, -3, -4, -5])
        known = {" bad": -1.0, " poor": -2.0, " fair": -9999.0, " good": -3.0, " the": -0.1}
        return body(known)

    good, bad = rater_of(serve(act, tokenizes=False)).scores([folder / "0.png", folder / "1.png"])
    assert isinstance(good, Score) and isinstance(bad, Reject)
    assert bad.reason.startswith(str(folder / "1.png"))
    assert "no log-probability of fair, excellent" in bad.reason


@pytest.mark.parametrize("form", ["null", "absent", "empty"])
def test_an_endpoint_without_logprobs_is_one_error_at_its_first_reply(serve, folder, form):
    def act(number, request):
        found = body({})
        if form == "null":
            found["choices"][0]["logprobs"] = None
        elif form == "absent":
            del found["choices"][0]["logprobs"]
        return found

    server = serve(act, tokenizes=False)
    with pytest.raises(InputError, match="the model can't score: the reply has no log-prob"):
        list(rater_of(server).scores(sorted(folder.glob("*.png"))))
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(serve, folder):
    server = serve(lambda number, request: {1: 429, 2: 503}.get(number))
    assert isinstance(rater_of(server).score(folder / "0.png"), Score)
    assert len(server.requests) == 3


def test_what_is_refused_of_one_image_is_its_reject(serve, folder):
    from qsit_ray.rating import messages

    refused = messages.data_url(folder / "2.png")

    def act(number, request):
        return 400 if refused in json.dumps(request) else None

    (folder / "text.jpg").write_text("no image")
    try:
        paths = [folder / name for name in ("2.png", "text.jpg", "0.png", "missing.png", "1.png")]
        found = list(rater_of(serve(act)).scores(paths))
    finally:
        (folder / "text.jpg").unlink()
    assert [type(each) for each in found] == [Reject, Reject, Score, Reject, Score]
    assert names(found) == [str(path) for path in paths]
    assert "status 400" in found[0].reason and "2.png" in found[0].reason
    assert "not a readable image" in found[1].reason


def test_a_server_that_refuses_every_image_is_one_error(serve, folder):
    server = serve(lambda number, request: 400)
    with pytest.raises(InputError, match="refuses every image"):
        list(rater_of(server).scores([folder / "0.png"] * 12))
    assert len(server.requests) == 3


def test_a_wrong_key_is_one_error_that_does_not_show_it(serve, folder, monkeypatch):
    monkeypatch.setenv("QSIT_MODEL_KEY", KEY)
    server = serve(key="another")
    with pytest.raises(InputError, match=r"status 401.*check QSIT_MODEL_KEY") as error:
        rater_of(server)
    assert KEY not in str(error.value)
    assert isinstance(rater_of(serve(key=KEY)).score(folder / "0.png"), Score)


def test_a_model_that_is_not_served_is_one_error(serve, folder):
    rater = RemoteRater.load(serve().url, "other")
    with pytest.raises(InputError, match=r"`other` does not exist.*check the base URL"):
        list(rater.scores(sorted(folder.glob("*.png"))))


@pytest.fixture
def soon(monkeypatch):
    """Pauses between attempts take no time."""
    from openai import AsyncOpenAI

    monkeypatch.setattr(AsyncOpenAI, "_calculate_retry_timeout", lambda *_: 0.0)


def test_a_server_that_goes_away_is_one_error_and_earlier_scores_are_kept(serve, folder, soon):
    sent = base64.b64encode((folder / "3.png").read_bytes()).decode()
    server = serve(lambda number, request: "close" if sent in json.dumps(request) else None)
    order = [0, 3, 1, 3, 3, 2] + [3] * 50
    found = []
    with pytest.raises(InputError, match="3 images in a row got no reply from the model"):
        for each in rater_of(server).scores([folder / f"{n}.png" for n in order]):
            found.append(each)
    assert [type(each) for each in found] == [
        Score, Reject, Score, Reject, Reject, Score, Reject, Reject,
    ]  # fmt: skip
    assert found[1].reason.startswith(f"{folder / '3.png'}: no reply: ")


def test_an_address_without_a_server_is_one_error(serve, soon):
    server = serve()
    server.close()
    with pytest.raises(InputError, match="no reply from the model: ConnectError"):
        rater_of(server)


def test_order_is_kept_and_calls_are_bounded(serve, folder, monkeypatch):
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
        return planted([0, 0, 0, 0, float(side)])

    server = serve(act, tokenizes=False)
    widths = [n % 7 for n in range(1, 22)]
    images = [Image.new("RGB", (width + 1, 2)) for width in widths]
    found = list(rater_of(server).scores(images))
    best = [each.probabilities["excellent"] for each in found]
    assert best == pytest.approx([np.exp(w + 1) / (4 + np.exp(w + 1)) for w in widths])
    assert server.most_at_once <= 3


def test_endless_images_are_taken_as_they_come(serve, folder):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield folder / "0.png"

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


def test_answers_are_those_of_the_model_here(checkpoint, serve, folder):
    server = serve()
    here, there = Rater(checkpoint), rater_of(server)
    image = folder / "turned.jpg"
    for question in ("Is it sharp?", "What is the worst distortion of this image, and why?"):
        expected = here.ask(image, question, most_tokens=9)
        assert there.ask(image, question, most_tokens=9) == expected
    assert there.describe(image, most_tokens=5) == here.describe(image, most_tokens=5)
    request = server.requests[-1]
    assert (request["temperature"], request["max_tokens"]) == (0, 5)
    assert request["repetition_penalty"] == 1.0  # whatever generation_config.json says


def test_an_answer_is_whole_where_the_server_says_so(serve, folder):
    def act(number, request):
        found = body({"x": -1.0}, " A sharp image. ")
        found["choices"][0]["finish_reason"] = "stop" if number == 1 else "length"
        return found

    view = rater_of(serve(act)).view(folder / "0.png")
    whole, cut = view.describe(), view.describe()
    assert (whole.text, whole.is_whole, cut.is_whole) == ("A sharp image.", True, False)
    with pytest.raises(InputError, match="at least 1"):
        view.ask("Sharp?", most_tokens=0)


def test_choices_are_those_of_the_model_here(checkpoint, serve, folder):
    here, there = Rater(checkpoint), rater_of(serve())
    asked = [("What is it?", ["noise", "blur", "a cat on the roof"]), ("Sharp?", ["yes", "no"])]
    for question, candidates in asked:
        expected = here.choose(folder / "2.png", question, candidates)
        found = there.choose(folder / "2.png", question, candidates)
        assert found.answer == expected.answer
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    with pytest.raises(InputError, match="two or more different candidates"):
        there.choose(folder / "2.png", "Sharp?", ["yes"])


def test_choices_and_answers_under_the_official_profile_are_those_here(checkpoint, serve, folder):
    there = rater_of(serve(template=OFFICIAL_TEMPLATE), "official")
    here = Rater(checkpoint, OFFICIAL)
    expected = here.choose(folder / "2.png", "Sharp?", ["yes", "no"])
    found = there.choose(folder / "2.png", "Sharp?", ["yes", "no"])
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert there.ask(folder / "2.png", "Sharp?", 4) == here.ask(folder / "2.png", "Sharp?", 4)


@pytest.mark.parametrize("form", ["absent", "of other tokens"])
def test_an_endpoint_without_likelihoods_of_a_prompt_can_not_choose(serve, folder, form):
    def act(number, request):
        found = body({"x": -1.0})
        if form == "of other tokens":
            found["prompt_logprobs"] = [None] + [{"5": {"logprob": -1.0}}] * 30
        return found

    with pytest.raises(InputError, match="the model can't choose"):
        rater_of(serve(act)).choose(folder / "0.png", "Sharp?", ["yes", "no"])


def test_a_failure_of_one_answer_names_the_image(serve, folder, soon):
    rater = rater_of(serve(lambda number, request: 500))
    with pytest.raises(InputError, match=r"0\.png: no reply from the model: status 500"):
        rater.describe(folder / "0.png")


def test_level_words_that_share_a_token_are_refused(serve, monkeypatch):
    server = serve()
    known = server.ids
    monkeypatch.setattr(
        server,
        "ids",
        lambda text: known(text.replace(" excellent", " good").replace("poor", "bad")),
    )
    with pytest.raises(InputError, match="begin with the same token"):
        rater_of(server)


def test_the_conditions_have_no_secret(serve, folder, monkeypatch):
    monkeypatch.setenv("QSIT_MODEL_KEY", KEY)
    server = serve(key=KEY)
    conditions = rater_of(server).conditions
    assert KEY not in json.dumps(conditions)
    assert (conditions["backend"], conditions["model"]) == ("vllm", MODEL)
    assert (conditions["endpoint"], conditions["prompt"]) == (server.url, "tested")


def test_without_the_package_its_extra_is_named(serve, monkeypatch):
    monkeypatch.delitem(sys.modules, "qsit_ray.chat", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"install qsit_ray\[vllm\]"):
        rater_of(serve())
