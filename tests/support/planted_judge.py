"""A judge behind a real HTTP server that fails by plan, and a benchmark that asks it."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qsit_ray.endpoint import Endpoint
from qsit_ray.evaluation.lldescribe import benchmark
from qsit_ray.evaluation.lldescribe.log import open_log

SECRET = "sk-verysecret/0123456789"
GOLDEN = {"a.jpg": "Sharp, but noisy.", "b.jpg": "Blurred {dark}.", "c.jpg": "Well exposed."}
DESCRIBED = {"a.jpg": "It is sharp.", "b.jpg": "It is dark.", "c.jpg": "A cat."}


class Judge:
    """Answers by `plan(number of the call, prompt)`: a text is a reply, a tuple a status with
    headers and body; hang, garbage, truncated and drop are failures of these kinds.
    """

    def __init__(self, plan):
        self.plan, self.lock, self.end = plan, threading.Lock(), threading.Event()
        self.prompts, self.headers, self.replied = [], [], 0
        self.now = self.most = 0
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                judge.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, handler):
        asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            number = len(self.prompts)
            self.prompts.append(asked["messages"][0]["content"])
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            assert handler.path == "/v1/chat/completions"
            act = self.plan(number, self.prompts[number])
        finally:
            with self.lock:
                self.now -= 1
        if act == "hang":
            self.end.wait(10)
            return
        if act == "drop":
            return
        status, headers, body = act if isinstance(act, tuple) else (200, {}, completion(act))
        body = b"<html>busy" if act == "garbage" else body
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) + 99 * (act == "truncated")))
        handler.end_headers()
        handler.wfile.write(body)
        self.replied += status == 200

    def close(self):
        self.end.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def completion(text):
    message = text if isinstance(text, dict) else {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}
    return json.dumps({"choices": [{"message": message}], "usage": usage}).encode()


def by_content(number, text):
    """A score that depends on nothing but the prompt."""
    return str(hashlib.sha256(text.encode()).digest()[0] % 3)


def run(judge, folder, *, golden=GOLDEN, described=DESCRIBED, rounds=2, **settings):
    """The JSON object that the command would print."""
    prices = settings.pop("prices", None)
    url = judge if isinstance(judge, str) else judge.url
    endpoint = Endpoint("judge", url, "judge-1", **{"concurrency": 1, **settings})
    with open_log(folder / "replies.jsonl") as log:
        return benchmark.judge_descriptions(
            golden, described, endpoint, log, rounds=rounds, prices=prices
        ).to_json()


ONE = {"golden": {"a.jpg": "Sharp."}, "described": {"a.jpg": "Soft."}, "rounds": 1}


def scored(result):
    """All but the cost of a run, in which a resumed run differs, and its place."""
    place = ("cost", "base_url", "replies")
    left = {key: value for key, value in result.items() if key not in place}
    return {**left, "all_runs": result["cost"]["all_runs"]}
