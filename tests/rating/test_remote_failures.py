"""What a model behind OpenAI's protocol refuses or lacks: a reject of its image, or one error."""

import base64
import json
import sys

import pytest
from vllm_server import MODEL, completion, planted_levels

from qsit_ray.errors import InputError
from qsit_ray.rating import messages
from qsit_ray.rating.remote import RemoteRater
from qsit_ray.rating.results import Reject, Score

KEY = "sk-very-secret-0123456789"


def rater_of(server):
    return RemoteRater.load(server.url, MODEL)


def test_a_missing_word_is_that_images_reject(serve, mixed_images):
    def act(number, request):
        if number == 1:
            return planted_levels([-1, -2, -3, -4, -5])
        known = {" bad": -1.0, " poor": -2.0, " fair": -9999.0, " good": -3.0, " the": -0.1}
        return completion(known)

    good, bad = rater_of(serve(act, tokenizes=False)).scores(
        [mixed_images / "0.png", mixed_images / "1.png"]
    )
    assert isinstance(good, Score) and isinstance(bad, Reject)
    assert bad.reason.startswith(str(mixed_images / "1.png"))
    assert "no log-probability of fair, excellent" in bad.reason


@pytest.mark.parametrize("form", ["null", "absent", "empty"])
def test_an_endpoint_without_logprobs_is_one_error_at_its_first_reply(serve, mixed_images, form):
    def act(number, request):
        found = completion({})
        if form == "null":
            found["choices"][0]["logprobs"] = None
        elif form == "absent":
            del found["choices"][0]["logprobs"]
        return found

    server = serve(act, tokenizes=False)
    with pytest.raises(InputError, match="the model can't score: the reply has no log-prob"):
        list(rater_of(server).scores(sorted(mixed_images.glob("*.png"))))
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(serve, mixed_images):
    server = serve(lambda number, request: {1: 429, 2: 503}.get(number))
    assert isinstance(rater_of(server).score(mixed_images / "0.png"), Score)
    assert len(server.requests) == 3


def test_what_is_refused_of_one_image_is_its_reject(serve, mixed_images):
    refused = messages.data_url(mixed_images / "2.png")

    def act(number, request):
        return 400 if refused in json.dumps(request) else None

    (mixed_images / "text.jpg").write_text("no image")
    try:
        paths = [
            mixed_images / name for name in ("2.png", "text.jpg", "0.png", "missing.png", "1.png")
        ]
        found = list(rater_of(serve(act)).scores(paths))
    finally:
        (mixed_images / "text.jpg").unlink()
    assert [type(each) for each in found] == [Reject, Reject, Score, Reject, Score]
    assert [each.image for each in found] == [str(path) for path in paths]
    assert "status 400" in found[0].reason and "2.png" in found[0].reason
    assert "not a readable image" in found[1].reason


def test_a_server_that_refuses_every_image_is_one_error(serve, mixed_images):
    server = serve(lambda number, request: 400)
    with pytest.raises(InputError, match="refuses every image"):
        list(rater_of(server).scores([mixed_images / "0.png"] * 12))
    assert len(server.requests) == 3


def test_a_wrong_key_is_one_error_that_does_not_show_it(serve, mixed_images, monkeypatch):
    monkeypatch.setenv("QSIT_MODEL_KEY", KEY)
    server = serve(key="another")
    with pytest.raises(InputError, match=r"status 401.*check QSIT_MODEL_KEY") as error:
        rater_of(server)
    assert KEY not in str(error.value)
    assert isinstance(rater_of(serve(key=KEY)).score(mixed_images / "0.png"), Score)


def test_a_model_that_is_not_served_is_one_error(serve, mixed_images):
    rater = RemoteRater.load(serve().url, "other")
    with pytest.raises(InputError, match=r"`other` does not exist.*check the base URL"):
        list(rater.scores(sorted(mixed_images.glob("*.png"))))


def test_a_server_that_goes_away_is_one_error_and_earlier_scores_are_kept(
    serve, mixed_images, soon
):
    sent = base64.b64encode((mixed_images / "3.png").read_bytes()).decode()
    server = serve(lambda number, request: "close" if sent in json.dumps(request) else None)
    order = [0, 3, 1, 3, 3, 2] + [3] * 50
    found = []
    with pytest.raises(InputError, match="3 images in a row got no reply from the model"):
        for each in rater_of(server).scores([mixed_images / f"{n}.png" for n in order]):
            found.append(each)
    assert [type(each) for each in found] == [
        Score, Reject, Score, Reject, Reject, Score, Reject, Reject,
    ]  # fmt: skip
    assert found[1].reason.startswith(f"{mixed_images / '3.png'}: no reply: ")


def test_an_address_without_a_server_is_one_error(serve, soon):
    server = serve()
    server.close()
    with pytest.raises(InputError, match="no reply from the model: ConnectError"):
        rater_of(server)


def test_a_failure_of_one_answer_names_the_image(serve, mixed_images, soon):
    rater = rater_of(serve(lambda number, request: 500))
    with pytest.raises(InputError, match=r"0\.png: no reply from the model: status 500"):
        rater.describe(mixed_images / "0.png")


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


@pytest.mark.parametrize("form", ["absent", "of other tokens"])
def test_an_endpoint_without_likelihoods_of_a_prompt_can_not_choose(serve, mixed_images, form):
    def act(number, request):
        found = completion({"x": -1.0})
        if form == "of other tokens":
            found["prompt_logprobs"] = [None] + [{"5": {"logprob": -1.0}}] * 30
        return found

    with pytest.raises(InputError, match="the model can't choose"):
        rater_of(serve(act)).choose(mixed_images / "0.png", "Sharp?", ["yes", "no"])


def test_the_conditions_have_no_secret(serve, mixed_images, monkeypatch):
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
