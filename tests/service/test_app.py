"""The service's routes, in front of a small model in this process."""

import io

import pytest
import requests
import schemathesis
from hostile_images import bad, good
from hypothesis import given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from services import image, post, reason, text

QUESTION = "Is it sharp?"


def chat(content, question=QUESTION, **more):
    url = f"data:image/png;base64,{text(content)}"
    parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}], **more}


def after(role):
    """A chat whose first message is of another role."""
    asked = chat(image())
    return {"messages": [{"role": role, "content": "Be brief."}, *asked["messages"]]}


def test_scores_are_the_raters_in_a_form_and_in_json(rater, address):
    contents = [image(seed, (40 + 30 * seed, 90)) for seed in range(3)]
    known = [rater.score(content).score for content in contents]
    form = post(
        address, "/v1/score", files=[("files", (f"{n}.png", c)) for n, c in enumerate(contents)]
    )
    body = {
        "images": [
            {"data": text(content), "name": f"{n}.png"} for n, content in enumerate(contents)
        ]
    }
    for answer in (form, post(address, "/v1/score", json=body)):
        assert answer.status_code == 200
        scores = answer.json()["scores"]
        assert [each["image"] for each in scores] == ["0.png", "1.png", "2.png"]
        assert [each["score"] for each in scores] == pytest.approx(known, abs=1e-4)
        assert answer.json()["rejects"] == []
        assert answer.json()["conditions"]["resize"] == "bicubic"


def test_rewards_lie_from_0_to_1_and_an_unreadable_image_has_none(rater, address):
    body = {"images": [{"data": text(image())}, {"data": text(b"none")}]}
    answer = post(address, "/v1/reward", json=body).json()
    assert answer["rewards"] == [
        pytest.approx((rater.score(image()).score - 1) / 4, abs=1e-4),
        None,
    ]
    assert [each["image"] for each in answer["rejects"]] == ["image 2"]
    alone = post(address, "/v1/reward", json={"images": body["images"][1:]})
    assert alone.json()["rewards"] == [None]


def test_answers_are_the_raters(rater, address):
    fields = [("question", QUESTION), ("question", "Is it noisy?"), ("most_tokens", "5")]
    answer = post(address, "/v1/ask", files={"file": ("a.png", image())}, data=fields).json()
    known = [rater.ask(image(), question, 5).text for question in (QUESTION, "Is it noisy?")]
    assert [each["text"] for each in answer["answers"]] == known
    assert [each["question"] for each in answer["answers"]] == [QUESTION, "Is it noisy?"]
    body = {"image": {"data": text(image())}, "questions": [QUESTION], "choices": ["Yes", "No"]}
    (chosen,) = post(address, "/v1/ask", json=body).json()["answers"]
    expected = rater.choose(image(), QUESTION, ["Yes", "No"])
    assert chosen["answer"] == expected.answer
    assert chosen["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


def test_openais_client_can_ask(rater, address):
    from openai import OpenAI

    client = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    (model,) = client.models.list().data
    asked = chat(image(), model=model.id, max_tokens=4)
    unset = {"n": None, "stream": None, "temperature": 0.7}
    assert post(address, "/v1/chat/completions", json={**asked, **unset}).status_code == 200
    whole = client.chat.completions.create(**asked)
    known = rater.ask(image(), QUESTION, 4)
    assert whole.choices[0].message.content == known.text
    assert whole.choices[0].finish_reason == ("stop" if known.is_whole else "length")
    pieces = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == known.text
    usage = {"stream_options": {"include_usage": True}}
    *pieces, last = client.chat.completions.create(**asked, stream=True, **usage)
    assert last.choices == []
    assert pieces[0].usage is None
    for used in (whole.usage, last.usage):
        assert used.prompt_tokens == prompt_tokens(rater, image(), QUESTION)
        assert 1 <= used.completion_tokens <= 4
        assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    longer = client.chat.completions.create(**chat(image(), model=model.id, max_tokens=9))
    if not known.is_whole:
        assert (whole.usage.completion_tokens, longer.usage.completion_tokens > 4) == (4, True)


def prompt_tokens(rater, content, question):
    """By transformers' own processor, each of the image's features being one."""
    processor = rater.checkpoint.processor
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    turn = [{"role": "user", "content": parts}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True)
    picture = Image.open(io.BytesIO(content))
    return processor(images=picture, text=text, return_tensors="pt")["input_ids"].shape[1]


def test_a_method_that_a_route_lacks_is_told_those_that_it_has(address):
    answer = requests.delete(f"{address}/v1/score", timeout=60)
    assert reason(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_an_address_in_a_chat_is_never_fetched(address, tmp_path):
    (tmp_path / "a.png").write_bytes(image())
    for local in (f"file://{tmp_path}/a.png", str(tmp_path / "a.png"), f"{address}/health"):
        body = chat(b"")
        body["messages"][0]["content"][1]["image_url"]["url"] = local
        assert "no other address" in reason(post(address, "/v1/chat/completions", json=body), 422)


@pytest.mark.parametrize(
    ("path", "given", "status", "said"),
    [
        ("/v1/score", {"data": "x"}, 415, "no content type; expected multipart/form-data"),
        ("/v1/score", {"data": {"a": "b"}}, 415, "x-www-form-urlencoded; expected"),
        ("/v1/score", {"json": {}}, 422, "images: Field required"),
        ("/v1/score", {"json": {"images": [{"data": "%%"}]}}, 422, "images.0.data"),
        ("/v1/score", {"json": {"images": []}}, 422, "at least 1 item"),
        ("/v1/score", {"json": {"images": [{"data": ""}] * 5}}, 413, "at most 4 may"),
        ("/v1/score", {"files": {"other": b"x"}}, 422, "fields named files"),
        ("/v1/score", {"files": [("files", b"x")] * 9}, 400, "Too many files"),
        ("/v1/ask", {"files": {"file": image()}}, 422, "questions"),
        ("/v1/ask", {"files": {"file": image()}, "data": {"question": ""}}, 422, "at least 1 char"),
        ("/v1/ask", {"files": {"a": b""}, "data": {"question": "q"}}, 422, "one image is needed"),
        ("/v1/ask", {"files": {"file": b"x"}, "data": {"question": "q"}}, 422, "not a readable"),
        (
            "/v1/ask",
            {"files": {"file": image()}, "data": {"question": "q", "choice": ["a", "a"]}},
            422,
            "two or more different candidates",
        ),
        (
            "/v1/ask",
            {"files": {"file": image()}, "data": {"question": "q", "most_tokens": "many"}},
            422,
            "most_tokens",
        ),
        ("/v1/chat/completions", {"json": chat(image(), n=2)}, 422, "n: Input should be 1"),
        ("/v1/chat/completions", {"json": {"messages": [{"role": "other"}]}}, 422, "messages.0"),
        ("/v1/chat/completions", {"json": after("system")}, 400, "a system message, which"),
        ("/v1/chat/completions", {"json": after("developer")}, 400, "a developer message, which"),
        ("/v1/nothing", {"json": {}}, 404, "Not Found"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_reason(address, path, given, status, said):
    assert said in reason(post(address, path, **given), status)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_hostile_images_are_scored_or_refused_with_a_reason(address, tmp_path):
    """Also names that are paths or HTML: a name is a label."""
    folder = tmp_path / "in"
    folder.mkdir()
    readable, broken = good(folder), bad(folder, tmp_path / "outside")
    sent = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }
    assert len(sent) >= 40
    for name, content in sent.items():
        for label in ("../../etc/passwd", "<img src=x onerror=alert(1)>.png"):
            answer = post(address, "/v1/score", files=[("files", (label, content))])
            if name in readable:
                assert answer.status_code == 200, (name, answer.text)
                assert answer.json()["scores"][0]["image"] == label
            else:
                assert name in broken
                assert reason(answer, 422)


def test_pages_run_only_the_services_own_scripts(address):
    for path in ("/", "/v1/score", "/nothing"):
        headers = requests.get(address + path, timeout=60).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_no_request_of_the_described_form_fails_in_the_service(address):
    """Generated from the OpenAPI document: answers are as it describes them, and none is 5xx."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    statuses = {}

    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=20, deadline=None, derandomize=True, database=None)
        @given(case=operation.as_strategy())
        def check(case):
            answer = case.call_and_validate(checks=CHECKS, timeout=60)
            statuses.setdefault((case.method, case.path), set()).add(answer.status_code)

        check()
    assert {path for _, path in statuses} >= {"/v1/score", "/v1/reward", "/v1/ask", "/ready"}
    assert statuses["GET", "/v1/models"] == {200}
