"""Feedbacks become questions: requests, valid replies, rows, and a conversion over real HTTP."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
from collections import Counter

import filelock
import pytest
from command_line import QSIT
from endpoints import Endpoint, good
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.data.pathway import conversion, feedbacks, questions
from qsit_ray.data.pathway.feedbacks import Feedback
from qsit_ray.data.pathway.questions import Request
from qsit_ray.data.pathway.replies import Replies
from qsit_ray.endpoint import Completion
from qsit_ray.errors import InputError

ONE = Feedback("a.jpg#1", "a.jpg", "Describe it.\n<image>", "Sharp, but dark. So it is fair.")


def test_feedbacks_of_q_pathway_and_of_llava_are_read_and_the_rest_rejected(tmp_path):
    file = tmp_path / "f.json"
    talk = [{"from": "human", "value": "Describe it."}, {"from": "gpt", "value": "Blurred."}]
    file.write_text(json.dumps([
        {"image": "a.jpg", "feedbacks": [
            {"q": "Describe it.\n<image>", "a": "Sharp."}, {"q": "Again <image>", "a": "Dark."},
            {"q": "Empty <image>", "a": " "}, "text", {"q": "<image><image>", "a": "Two."}]},
        {"id": "7", "image": "b.jpg", "conversations": talk},
        {"id": "8", "image": ["b.jpg", "c.jpg"], "conversations": talk},
        {"id": "9", "image": "c.jpg", "conversations": [*talk, *talk]},
        17,
        {"image": "d.jpg", "feedbacks": []},
        {"image": "e.jpg", "feedbacks": [{"q": "Half <image>", "a": "\ud83d"}]},
    ]))  # fmt: skip
    found = feedbacks.read(file)
    assert [(each.id, each.image, each.question, each.text) for each in found.feedbacks] == [
        ("a.jpg#1", "a.jpg", "Describe it.\n<image>", "Sharp."),
        ("a.jpg#2", "a.jpg", "Again <image>", "Dark."),
        ("b.jpg#1", "b.jpg", "<image>\nDescribe it.", "Blurred."),
    ]
    assert [place for place, _ in found.rejects] == [
        "record 1, feedback 3", "record 1, feedback 4", "record 1, feedback 5", "record 3",
        "record 4", "record 5", "record 6", "record 7, feedback 1",
    ]  # fmt: skip


def test_the_real_feedbacks_are_all_read(shared_data, tmp_path):
    with gzip.open(shared_data / "qpathway_400.json.gz") as stream:
        content = json.load(stream)
    (tmp_path / "f.json").write_text(json.dumps(content))
    found = feedbacks.read(tmp_path / "f.json")
    assert len(found.feedbacks) + len(found.rejects) == sum(len(r["feedbacks"]) for r in content)
    assert not found.rejects
    assert len({each.id for each in found.feedbacks}) == len(found.feedbacks)


def test_requests_ask_each_feedback_once_with_as_many_yes_as_no():
    many = [Feedback(f"{n}", "a.jpg", "Q <image>", f"Remark {n}.") for n in range(100)]
    made = questions.requests(many, 0.2, 3)
    kinds = Counter(each.kind for each in made)
    assert kinds == {"what_how": 100, "yes_no": 100, "conversation": 20}
    assert Counter(r.wanted for r in made if r.kind == "yes_no") == {"Yes": 50, "No": 50}
    themes = Counter(r.wanted for r in made if r.kind == "conversation")
    assert set(themes.values()) == {4}
    assert made == questions.requests(many, 0.2, 3)
    assert [r for r in made if r.kind == "conversation"] != [
        r for r in questions.requests(many, 0.2, 4) if r.kind == "conversation"
    ]
    assert len({each.key("m") for each in made}) == len(made)


@pytest.mark.parametrize(
    ("kind", "reply", "reason"),
    [
        ("yes_no", "I can't.", "no JSON object"),
        ("yes_no", '{"question": "Is it?"', "broken"),
        ("yes_no", '{"question": "Is it?", "answer": "No"}', "No, where Yes was asked for"),
        ("yes_no", '{"question": "It is.", "answer": "Yes"}', "question: does not end"),
        ("yes_no", '{"question": "Is <image> it?", "answer": "Yes"}', "question: has <image>"),
        ("what_how", '{"questions": []}', "questions"),
        ("what_how", {"question": "Is it sharp?"}, "neither What nor How"),
        ("what_how", {"distractors": ["blur", "Noise", "Glare"]}, "the same"),
        ("what_how", {"distractors": ["Noise"]}, "distractors"),
        ("what_how", {"answer": "word " * 16}, "more than 15 words"),
        ("conversation", '{"turns": [{"question": "Why?", "answer": "So."}]}', "turns"),
        ("conversation", "[1, 2]", "no JSON object"),
        ("conversation", '{"turns": ' * 3000, "broken"),
    ],
)
def test_a_reply_that_is_not_valid_has_a_reason(kind, reply, reason):
    if isinstance(reply, dict):
        first = {"question": "What?", "answer": "Blur", "distractors": ["Noise", "Glare", "Grain"]}
        reply = json.dumps({"questions": [first | reply]})
    with pytest.raises(ValueError, match=reason):
        Request(ONE, kind, "Yes").read(reply)


@settings(deadline=None)
@given(st.sampled_from(questions.KINDS), st.text() | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["questions", "question", "answer", "turns", "distractors"]), inner),
).map(json.dumps))  # fmt: skip
def test_any_reply_is_valid_or_has_a_reason(kind, reply):
    request = Request(ONE, kind, "Yes")
    try:
        made = request.read(reply)
    except ValueError:
        return
    assert list(questions.rows(request, made, 0))


def test_rows_have_one_image_token_and_options_that_hold_the_answer():
    request = Request(ONE, "what_how")
    made = request.read(good(request.messages[-1]["content"]))
    found = dict(questions.rows(request, made, 0))
    assert found["what_how"]["conversations"] == [
        {"from": "human", "value": "<image>\nWhat is worst?"},
        {"from": "gpt", "value": "Blur"},
    ]
    listed = found["multiple_choice"]["conversations"][0]["value"]
    own = dict(questions.rows(request, made, 0, "<image>\n{options}\n{question}"))
    mine = own["multiple_choice"]["conversations"][0]["value"]
    assert mine.startswith("<image>\nA. ") and mine.endswith("\nWhat is worst?")
    assert all(option in listed for option in ("Blur", "Noise", "Glare", "Banding"))
    places = {
        dict(questions.rows(request, made, seed))["multiple_choice"]["conversations"][0]["value"]
        .index("Blur")
        for seed in range(20)
    }  # fmt: skip
    assert len(places) > 1  # the answer is not always the same option


def test_surplus_of_one_answer_is_set_aside(tmp_path):
    many = [Feedback(f"{n}", "a.jpg", "Q <image>", f"Remark {n}.") for n in range(4)]
    asked = questions.requests(many, 0, 0)
    replies = Replies(tmp_path / "replies")
    for request in asked:
        valid = request.kind == "yes_no" and request.feedback.id != "1"
        text = good(request.messages[-1]["content"]) if valid else "?"
        replies.append(request.key("m"), Completion(text, 1, 1))
    found = feedbacks.Feedbacks(many, [])
    made = conversion.write(tmp_path, found, asked, Replies(tmp_path / "replies"), {}, "m", 0)
    answers = [
        r["conversations"][1]["value"] for r in json.loads((tmp_path / "yes_no.json").read_text())
    ]
    assert Counter(answers) == {"Yes": 1, "No": 1}
    assert made.requests == made.valid + made.rejected
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert len(rejects) == 4 + 1 + 1  # every what/how, a yes-or-no question, and one set aside


def test_a_line_cut_off_by_a_kill_is_left_out_and_another_is_refused(tmp_path):
    replies = Replies(tmp_path)
    replies.append("k", Completion("text\u2028", 1, None))
    (file,) = tmp_path.glob("*.jsonl")
    file.write_text(file.read_text() + '{"key": "l", "te')
    assert Replies(tmp_path).of("k") == [Completion("text\u2028", 1, None)]
    assert Replies(tmp_path).of("l") == []
    file.write_text("[]\n")
    with pytest.raises(InputError, match="line 1: not a reply"):
        Replies(tmp_path)


@pytest.fixture
def served():
    started = []

    def start(act):
        started.append(Endpoint(act))
        return started[-1]

    yield start
    for each in started:
        each.close()


def convert(folder, endpoint, *more, count=20, **environment):
    records = [
        {"image": f"{n}.jpg", "feedbacks": [{"q": "Describe it. <image>", "a": f"Remark {n}."}]}
        for n in range(count)
    ]
    (folder / "in.json").write_text(json.dumps(records))
    words = ["data", "convert", "pathway", "in.json", "--endpoint", endpoint.url, "--model", "m"]
    words += ["--out", "out", "--json", "--timeout", "1", *more]
    return subprocess.Popen(
        [QSIT, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )  # fmt: skip


def ended(process, status=0):
    stdout, stderr = process.communicate()
    assert process.returncode == status, stderr
    return json.loads(stdout) if stdout else stderr


def unruly(number, prompt):
    """Every other call goes wrong; one remark never gets a valid reply, another is refused."""
    if "Remark 11." in prompt:
        return 400
    if number % 2:
        return good(prompt) if "Remark 7." not in prompt else "I would rather not."
    return (429, 500, b"<html>busy", "slow", '{"question": 1}')[number // 2 % 5]


def test_every_feedback_is_converted_once_or_rejected_also_after_a_kill(served, tmp_path):
    # Killed after half of the replies.
    half = tmp_path / "half"
    half.mkdir()
    calm = served(lambda number, prompt: good(prompt) if number <= 14 else "slow")
    process = convert(half, calm, "--attempts", "1", "--concurrency", "4", count=12)
    replies = half / "out" / "replies"
    while sum(len(f.read_bytes().splitlines()) for f in replies.glob("*.jsonl")) < 10:
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the command ended early, with {process.wait(0.05)}")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    paid = {line for file in replies.glob("*.jsonl") for line in file.read_text().splitlines()}

    wild = served(unruly)
    secret = "sk-planted-12345"
    done = ended(convert(
        half, wild, "--attempts", "40", "--concurrency", "8", count=12, QSIT_CONVERTER_KEY=secret
    ))  # fmt: skip
    assert done["requests"] == 26 == done["valid"] + done["rejected"]
    assert done["unanswered"] == 0
    # Nothing was paid for twice: what was answered before the kill was not asked again.
    asked_again = set(wild.prompts) & {
        request.messages[-1]["content"]
        for request in questions.requests(
            feedbacks.read(half / "in.json").feedbacks, 0.2, 0
        )
        if any(json.loads(line)["key"] == request.key("m") for line in paid)
    }  # fmt: skip
    assert not asked_again
    ids = Counter(
        row["id"].rpartition(":")[0]
        for name in ("what_how", "yes_no", "conversation")
        for row in json.loads((half / "out" / f"{name}.json").read_text())
    )
    rejects = [
        json.loads(line) for line in (half / "out" / "rejects.jsonl").read_text().splitlines()
    ]
    assert {e["kind"] for e in rejects if "refused" in e["reason"]} >= {"what_how", "yes_no"}
    given = Counter([*ids, *(f"{each['feedback']}:{each['kind']}" for each in rejects)])
    wanted = questions.requests(feedbacks.read(half / "in.json").feedbacks, 0.2, 0)
    assert given == Counter(f"{each.feedback.id}:{each.kind}" for each in wanted)
    assert all(each["authorization"] == f"Bearer {secret}" for each in wild.headers)
    kept = b"".join(file.read_bytes() for file in (half / "out").rglob("*") if file.is_file())
    assert secret.encode() not in kept

    # Asked once more, nothing is but what was refused: the same rows, byte for byte.
    calls = len(wild.prompts)
    before = {f.name: f.read_bytes() for f in (half / "out").glob("*.json")}
    again = ended(convert(half, wild, count=12))
    assert all("Remark 11." in prompt for prompt in wild.prompts[calls:])
    assert again["rows"] == done["rows"]
    assert {f.name: f.read_bytes() for f in (half / "out").glob("*.json")} == before


def test_an_endpoint_that_is_down_or_refuses_ends_with_what_to_do(served, tmp_path):
    down = served(lambda number, prompt: 500)
    process = convert(tmp_path, down, "--attempts", "1", "--concurrency", "2")
    stdout, stderr = process.communicate()
    assert process.returncode == 1
    assert json.loads(stdout)["unanswered"] == 44
    assert "44 requests got no reply" in stderr
    assert "asks for these again" in stderr
    assert len(down.prompts) == 3
    refusing = served(lambda number, prompt: 401)
    shutil.rmtree(tmp_path / "out")
    process = convert(tmp_path, refusing, "--attempts", "1")
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert "QSIT_CONVERTER_KEY" in stderr.splitlines()[-1]


def test_a_dry_run_asks_nothing_and_knows_what_is_left(served, tmp_path):
    quiet = served(lambda number, prompt: 500)
    first = ended(convert(
        tmp_path, quiet, "--dry-run", "--prompt-price", "1", "--completion-price", "2"
    ))  # fmt: skip
    assert first["requests"] == first["calls"] == 44
    assert first["price"] == pytest.approx(
        (first["prompt_tokens"] + 2 * first["completion_tokens"]) / 1e6
    )
    assert not quiet.prompts
    replies = Replies(tmp_path / "out" / "replies")
    asked = questions.requests(feedbacks.read(tmp_path / "in.json").feedbacks, 0.2, 0)
    for request in asked[:10]:
        text = good(request.messages[-1]["content"])
        replies.append(request.key("m"), Completion(text, 1, 1))
    assert ended(convert(tmp_path, quiet, "--dry-run"))["calls"] == 34


def test_what_would_lose_replies_is_refused_before_any_is_paid_for(served, tmp_path):
    quiet = served(lambda number, prompt: good(prompt))
    (tmp_path / "out").write_text("a file")
    _, stderr = convert(tmp_path, quiet).communicate()
    assert "out/replies: can't write to it" in stderr.splitlines()[-1]
    (tmp_path / "out").unlink()
    (tmp_path / "out" / "replies").mkdir(parents=True)
    with filelock.FileLock(tmp_path / "out" / "replies" / ".lock"):
        process = convert(tmp_path, quiet)
        _, stderr = process.communicate()
    assert process.returncode == 2
    assert "another process asks into this folder" in stderr
    assert not quiet.prompts
