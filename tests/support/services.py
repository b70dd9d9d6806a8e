"""The HTTP service in a thread on a free port, in front of any model."""

import asyncio
import base64
import contextlib
import socket
import threading

import requests
import small_model
import uvicorn

from qsit_ray.service import app
from qsit_ray.service.guard import digest
from qsit_ray.service.limits import Limits


class Local:
    """A Rater of this process as the routes need it."""

    def __init__(self, rater):
        self.rater = rater

    async def conditions(self):
        return self.rater.conditions

    async def scores(self, images):
        return list(self.rater.scores(images))

    async def answers(self, image, questions, choices, most_tokens):
        view = self.rater.view(image)
        if choices:
            return [view.choose(question, choices) for question in questions]
        return [view.ask(question, most_tokens) for question in questions]


class Held(Local):
    """Begins to score when it is told to; `asked` is set when it waits for that."""

    def __init__(self, rater):
        super().__init__(rater)
        self.asked, self.go_on = threading.Event(), threading.Event()

    async def scores(self, images):
        self.asked.set()
        await asyncio.to_thread(self.go_on.wait)
        return await super().scores(images)


class Failing:
    """A model whose every answer is an error."""

    def __init__(self, error):
        self.error = error

    async def conditions(self):
        raise self.error

    async def scores(self, images):
        raise self.error

    async def answers(self, image, questions, choices, most_tokens):
        raise self.error


@contextlib.contextmanager
def served(model, limits=None, token=None, seen=None):
    """Yields the service's address. `seen` gets what an observer is told."""
    limits = limits or Limits()
    observe = (seen if seen is not None else []).append
    built = app.build(model, limits, token and digest(token), lambda *observed: observe(observed))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(built, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def image(seed=0, size=(60, 70), form="PNG"):
    return small_model.image(seed, size, form)


def text(content):
    return base64.b64encode(content).decode()


def post(url, path, **given):
    return requests.post(url + path, timeout=60, **given)


def reason(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()["error"]
    assert found["code"] == status
    return found["message"]
