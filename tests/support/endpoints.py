"""A local endpoint that speaks OpenAI's protocol and behaves as badly as it is told."""

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHAT = {"questions": [{"question": "What is worst?", "answer": "Blur",
                       "distractors": ["Noise", "Glare", "Banding"]}]}  # fmt: skip
TALK = {"turns": [{"question": "Why?", "answer": "The lens was dirty."},
                  {"question": "And now?", "answer": "Clean it."}]}  # fmt: skip


def good(prompt):
    """A valid reply to any request of a conversion."""
    if "What or How" in prompt:
        return json.dumps(WHAT)
    if "conversation" in prompt:
        return f"<think>Let me see {{.</think>\n```json\n{json.dumps(TALK)}\n```"
    wanted = re.search(r'"answer": "(Yes|No)"', prompt).group(1)
    return json.dumps({"question": "Is it sharp?", "answer": wanted})


class Endpoint:
    """Answers each call by `act(number, prompt)`: a text, a status, raw bytes, or "slow"."""

    def __init__(self, act):
        self.prompts = []
        self.headers = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                with lock:
                    outer.prompts.append(prompt)
                    outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                    number = len(outer.prompts)
                answer = act(number, prompt)
                status, data = 200, answer
                if answer == "slow":
                    threading.Event().wait(3)
                    answer = ""
                if isinstance(answer, int):
                    status, data = answer, b'{"error": {"message": "not now"}}'
                elif isinstance(answer, str):
                    message = {"message": {"role": "assistant", "content": answer}}
                    usage = {"prompt_tokens": 100, "completion_tokens": 10}
                    data = json.dumps({"choices": [message], "usage": usage}).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Retry-After", "0.01")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
