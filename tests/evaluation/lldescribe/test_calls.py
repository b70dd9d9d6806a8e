"""Calls to a judge that fails: repeated, counted, kept, resumed; the key stays where it belongs."""

import json
import logging
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import openai._base_client
import pytest
from planted_judge import DESCRIBED, GOLDEN, ONE, SECRET, by_content, run, scored

from qsit_ray.endpoint import Endpoint
from qsit_ray.errors import InputError
from qsit_ray.evaluation.lldescribe import benchmark
from qsit_ray.evaluation.lldescribe.log import open_log
from qsit_ray.evaluation.lldescribe.rubric import DIMENSIONS, prompt


def test_every_failed_call_is_repeated_and_counted(served, tmp_path, pauses):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    plan = [
        (429, {"Retry-After": "7"}, b'{"error": {"message": "slow down"}}'),
        (500, {}, b"oops"),
        (503, {"Retry-After": later}, b""),
        *("hang", "garbage", "truncated", "drop"),
        *("I'd say 2", "3", "", "1", "0"),
    ]
    judge = served(plan)
    result = run(judge, tmp_path, timeout=0.3, prices=(1.5, 10.0), **ONE)
    assert len(judge.prompts) == len(plan)
    assert len(pauses) == 7
    assert pauses[0] == 7 and 0.7 <= pauses[1] <= 1 and 35 < pauses[2] <= 40
    backoff = zip((4, 8, 8, 8), pauses[3:], strict=True)
    assert all(0.75 * most <= pause <= most for most, pause in backoff)
    found = [result["dimensions"][name] for name in DIMENSIONS]
    assert [entry["score"] for entry in found] == [2, 1, 0]
    assert result["sum"] == 3 and result["invalid"] == result["unanswered"] == 0
    assert result["cost"]["this_run"] == {
        "calls": 12,
        "calls_without_reply": 7,
        "replies": 5,
        "replies_without_usage": 0,
        "prompt_tokens": 500,
        "completion_tokens": 10,
        "price": pytest.approx(500 * 1.5e-6 + 10 * 1e-5),
    }


def test_an_invalid_judgement_is_kept_with_its_texts_and_is_never_zero(served, tmp_path):
    refusal = {"role": "assistant", "content": None, "refusal": "I won't"}
    parts = {"content": [{"type": "text", "text": "may"}, "?", {"type": "text", "text": "be"}]}
    judge = served(["two", refusal, parts, "0", "0"])
    result = run(judge, tmp_path, **ONE)
    first = result["dimensions"]["completeness"]
    assert (first["p0"], first["score"], first["judgements"], first["invalid"]) == (
        None,
        None,
        0,
        1,
    )
    assert result["sum"] is None and result["sum_interval"] is None
    assert result["invalid_judgements"] == [
        {
            **{"image": "a.jpg", "dimension": "completeness", "round": 1},
            "replies": ["two", "I won't", "maybe"],
        }
    ]
    # It stays invalid: another run pays nothing, and only a higher limit asks once more.
    again = run(judge, tmp_path, **ONE)
    assert len(judge.prompts) == 5 and again["cost"]["this_run"]["calls"] == 0
    assert scored(again) == scored(result)
    more = run(served(["1"]), tmp_path, asks=4, **ONE)
    assert more["dimensions"]["completeness"]["score"] == 1 and more["invalid"] == 0


def test_a_refusal_ends_the_run_and_the_next_one_continues(served, tmp_path):
    refused = (401, {}, b'{"error": {"message": "no such key"}}')
    judge = served(lambda n, text: refused if n == 7 else by_content(n, text))
    with pytest.raises(InputError, match=r"^the judge refused with status 401: no such key; check"):
        run(judge, tmp_path)
    assert len(judge.prompts) == 8
    with (tmp_path / "replies.jsonl").open("ab") as log:
        log.write('{"key": "half a line, cut inside a letter: é'.encode()[:-1])
    result = run(judge, tmp_path, concurrency=5)
    assert len(judge.prompts) == 1 + 18 and judge.replied == 18
    assert scored(result) == scored(run(served(by_content), tmp_path / "other"))
    for line in (tmp_path / "replies.jsonl").read_bytes().splitlines():
        assert json.loads(line)["score"] in (0, 1, 2)


def test_a_killed_process_is_resumed_and_pays_for_nothing_twice(served, tmp_path):
    names = {"golden": GOLDEN, "descriptions": DESCRIBED}
    for name, texts in names.items():
        lines = [json.dumps({"img_path": i, "description": t}) for i, t in texts.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    process = []

    def plan(number, text):
        if number == 6:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()
        return by_content(number, text)

    judge = served(plan)
    code = "import typer; from qsit_ray.cli import lldescribe as c; typer.run(c.lldescribe)"
    command = [sys.executable, "-c", code, "--base-url", judge.url, "--model", "judge-1"]
    command += [f"--{name}={tmp_path / name}.jsonl" for name in names]
    command += ["--replies", str(tmp_path / "replies.jsonl"), "--rounds=2", "--concurrency=1"]
    process.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert process[0].wait() == -signal.SIGKILL
    result = run(judge, tmp_path)
    # The seventh call was under way: its reply found nobody, and it is the only one sent again.
    assert len(judge.prompts) == 18 + 1 and result["cost"]["this_run"]["calls"] == 18 - 6
    assert scored(result) == scored(run(served(by_content), tmp_path / "other"))


def test_a_damaged_log_is_refused_with_its_line(tmp_path):
    good = {"key": "k", "score": 1, "text": "1", "prompt_tokens": None, "completion_tokens": 1}
    for bad in ("{", "[]", json.dumps({**good, "score": 3}), json.dumps({**good, "score": True})):
        (tmp_path / "log").write_text(f"{json.dumps(good)}\n{bad}\n{json.dumps(good)}\n")
        with (
            pytest.raises(InputError, match=r"log, line 2: not a judge's reply"),
            open_log(tmp_path / "log"),
        ):
            pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="can't read and write it"), open_log(tmp_path / "folder"):
        pass
    with (
        open_log(tmp_path / "new"),
        pytest.raises(InputError, match="another process"),
        open_log(tmp_path / "new"),
    ):
        pass


def test_the_key_goes_into_the_header_and_nowhere_else(
    served, tmp_path, monkeypatch, caplog, capfd
):
    monkeypatch.setenv("QSIT_JUDGE_KEY", f" {SECRET}\n")
    caplog.set_level(logging.DEBUG)
    refusal = {"error": {"message": f"wrong key {SECRET} " + "x" * 150 + SECRET}}
    escaped = json.dumps(f"{SECRET} given").replace("/", "\\/").encode()
    judge = served(
        [f"{SECRET} gets 1", (500, {}, escaped), "1", "1", (403, {}, json.dumps(refusal).encode())]
    )
    notes = []
    with open_log(tmp_path / "replies.jsonl") as log, pytest.raises(InputError) as refused:
        benchmark.judge_descriptions(
            *(GOLDEN, DESCRIBED, Endpoint("judge", judge.url, "judge-1", concurrency=1), log),
            progress=lambda *seen: notes.append(seen),
        )
    assert {headers["authorization"] for headers in judge.headers} == {f"Bearer {SECRET}"}
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    seen = [str(refused.value), repr(notes), caplog.text, *written, *capfd.readouterr()]
    assert "***" in str(refused.value) and "***" in written[0] + written[-1]
    assert "attempt 2 of 8" in seen[1]
    for text in seen:
        assert "verysecret" not in text

    monkeypatch.setenv("QSIT_JUDGE_KEY", "sk-very secret")
    with pytest.raises(InputError) as refused:
        run(judge, tmp_path)
    assert "very" not in str(refused.value) and "QSIT_JUDGE_KEY" in str(refused.value)


def test_concurrency_is_used_and_bounded(served, tmp_path):
    together = threading.Barrier(3)

    def plan(number, text):
        together.wait(10)  # passes only if three calls are under way at once
        return "1"

    judge = served(plan)
    result = run(judge, tmp_path, concurrency=3)
    assert judge.most == 3 and len(judge.prompts) == 18
    assert result["sum"] == 3


def test_results_do_not_depend_on_the_order_of_replies_or_rows(served, tmp_path):
    arrived = [threading.Event() for _ in range(18)]

    def swapped(number, text):
        arrived[number].set()
        if number % 2 == 0:  # each second call is answered before the first
            arrived[number + 1].wait(10)
        return by_content(number, text)

    mixed = dict(reversed(GOLDEN.items()))
    a = run(served(swapped), tmp_path / "a", concurrency=8)
    b = run(served(by_content), tmp_path / "b", golden=mixed)
    assert scored(a) == scored(b)


def test_nothing_of_the_package_own_environment_is_sent(served, tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: {SECRET}\nX-Other: {SECRET}")
    judge = served(by_content)
    run(judge, tmp_path, **ONE)
    assert SECRET not in repr(judge.headers)
    names = {name for headers in judge.headers for name in headers}
    assert "authorization" not in names and not any("stainless" in name for name in names)


def test_without_the_package_its_extra_is_named(tmp_path, monkeypatch):
    for name in ("qsit_ray.evaluation.lldescribe.client", "qsit_ray.chat"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"install qsit_ray\[judge\]"):
        run("http://localhost/v1", tmp_path)


def test_an_endpoint_that_is_down_is_asked_no_more(served, tmp_path, pauses):
    judge = served([])
    judge.close()
    result = run(judge.url, tmp_path, attempts=2)
    assert result["cost"]["this_run"]["calls"] == 6 and len(pauses) == 3
    assert result["unanswered"] == 18 and result["sum"] is None
    reasons = [entry["reason"] for entry in result["unanswered_judgements"]]
    assert "ConnectError" in reasons[0] and reasons[-1].startswith("not asked")
    assert (tmp_path / "replies.jsonl").read_bytes() == b""


def test_one_question_without_a_reply_does_not_stop_the_others(served, tmp_path):
    poison = prompt(GOLDEN["b.jpg"], DESCRIBED["b.jpg"], "relevance")
    judge = served(lambda n, text: (500, {}, b"") if text == poison else "2")
    result = run(judge, tmp_path, rounds=4, attempts=3)
    assert len(judge.prompts) == 32 + 4 * 3
    assert result["unanswered"] == 4 and result["invalid"] == 0
    assert result["dimensions"]["relevance"]["judgements"] == 8
    assert result["sum"] == 6
    healed = served(lambda n, text: "2")
    assert run(healed, tmp_path, rounds=4)["unanswered"] == 0 and len(healed.prompts) == 4


def test_a_pause_of_hours_is_not_made(served, tmp_path, pauses):
    judge = served([(429, {"Retry-After": "86400"}, b"quota"), "1", "1"])
    result = run(judge, tmp_path, **ONE)
    assert not pauses and result["unanswered"] == 1
    assert result["unanswered_judgements"][0]["reason"] == "status 429, Retry-After 86400: quota"


def test_a_refusal_cuts_the_pauses_of_other_lanes_short(served, tmp_path, monkeypatch):
    paused = threading.Event()

    def plan(number, text):
        if number == 0:
            return (429, {}, b"")
        paused.wait(10)
        return (404, {}, b'{"error": "no model"}')

    def long(*arguments):
        paused.set()
        return 3600

    monkeypatch.setattr(openai._base_client.BaseClient, "_calculate_retry_timeout", long)
    endpoint = Endpoint("judge", served(plan).url, "judge-1", concurrency=2)
    with open_log(tmp_path / "log") as log, pytest.raises(InputError, match="404: no model"):
        benchmark.judge_descriptions(GOLDEN, DESCRIBED, endpoint, log)


def test_a_redirect_is_a_refusal_and_carries_no_key_away(served, tmp_path, monkeypatch):
    monkeypatch.setenv("QSIT_JUDGE_KEY", SECRET)
    other = served(["1"])
    judge = served([(307, {"Location": other.url + "/chat/completions"}, b"")])
    with pytest.raises(InputError, match=r"307.*redirects"):
        run(judge, tmp_path)
    assert not other.prompts


def test_missing_usage_makes_the_price_unknown(served, tmp_path):
    bare = (200, {}, json.dumps({"choices": [{"message": {"content": "1"}}], "usage": 3}).encode())
    result = run(served(["1", bare, "1"]), tmp_path, prices=(1, 1), **ONE)
    spent = result["cost"]["this_run"]
    assert spent["price"] is None and spent["replies_without_usage"] == 1
    assert spent["prompt_tokens"] == 200 and result["sum"] == 3
