"""rim: the service on Ray Serve: replicas of a model, and the door in front of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse
from ray.util.metrics import Counter, Histogram

from qsit_ray.data.images import Content
from qsit_ray.errors import InputError, mistake_in
from qsit_ray.rating.results import Choice, Reject, Reply, Score
from qsit_ray.service import app
from qsit_ray.service.forms import MOST_IMAGES
from qsit_ray.service.guard import digest
from qsit_ray.service.limits import TOKEN, Away, Busy, Deadly, Limits

if TYPE_CHECKING:
    from qsit_ray.rating.rater import Rater

BATCH = 32
"""Images that go to a model at once; what waits while it computes goes together next."""
DRAIN_SECONDS = 0.2
"""Between looks whether a replica that is to end still answers; an idle one ends at the first."""
FRESH_SECONDS = 5.0
"""For which a model that has answered is taken to be there."""
SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]
"""Bounds of the histogram of request times."""
Result = TypeVar("Result")
Ask = Callable[[], DeploymentResponse[Any]]


class Service(BaseModel):
    """What is served, and how."""

    model_config = ConfigDict(extra="forbid")

    model: str
    """A model's folder, which every node sees, or a name on the Hugging Face Hub."""
    profile: str | None = None
    """paper or official; the model's own, or paper, by default."""
    precision: Literal["fp32", "bf16"] | None = None
    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1, ge=0)
    """CPUs of a replica; a model on a CPU uses as many threads."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a replica."""
    megabytes: int = Field(default=32, ge=1)
    """Of a request's body at most."""
    megapixels: int = Field(default=50, ge=1)
    """Of an image at most."""
    images: int = Field(default=64, ge=1, le=MOST_IMAGES)
    """Of a request at most."""

    @property
    def limits(self) -> Limits:
        return Limits(
            body_bytes=self.megabytes * 2**20,
            pixels=self.megapixels * 1_000_000,
            images=self.images,
            waiting=max(Limits.waiting, 4 * self.images),
            held_bytes=max(Limits.held_bytes, 2 * self.megabytes * 2**20),
        )


class Model:
    """A model in a process of its own. One thread computes, in the order of arrival; the process's
    loop stays free for health checks."""

    def __init__(self, service: Service):
        from qsit_ray.rating.rater import Rater

        device = "cuda" if service.gpus else "cpu"
        self._rater: Rater = Rater.load(service.model, service.profile, device, service.precision)
        self._thread = ThreadPoolExecutor(1)

    async def conditions(self) -> dict[str, Any]:
        found = self._rater.conditions
        return {**found, "model": Path(found["model"]).name}  # not where it lies

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.0)
    async def score(self, images: list[Content]) -> list[Score | Reject]:
        return await self._computed(lambda: list(self._rater.scores(images)))

    async def score_alone(self, image: Content) -> Score | Reject:
        (found,) = await self._computed(lambda: list(self._rater.scores([image])))
        return found

    async def answers(
        self,
        image: Content,
        questions: Sequence[str],
        choices: Sequence[str] | None,
        most_tokens: int,
    ) -> list[Reply | Choice]:
        stop = Event()

        def answered() -> list[Reply | Choice]:
            view = self._rater.view(image)
            found: list[Reply | Choice] = []
            for question in questions:
                if stop.is_set():
                    break
                if choices:
                    found.append(view.choose(question, choices))
                else:
                    found.append(view.ask(question, most_tokens, stop))
            return found

        try:
            return await self._computed(answered)
        finally:
            stop.set()  # also when nobody waits any more: others' questions are next

    async def _computed(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class Replicas:
    """The replicas of a model, as the routes need them."""

    def __init__(self, handle: DeploymentHandle, fresh_seconds: float = FRESH_SECONDS):
        self._handle, self._fresh_seconds = handle, fresh_seconds
        self._conditions: tuple[float, dict[str, Any]] | None = None
        self._again = asyncio.Lock()

    async def conditions(self) -> dict[str, Any]:
        """Asked again after some seconds: a model may have died since, or be another one."""
        known = self._conditions
        if known is None or time.monotonic() - known[0] > self._fresh_seconds:
            self._conditions = None
            try:
                found = await _asked(self._handle.conditions.remote)
            except RayActorError:
                raise Away from None
            self._conditions = known = time.monotonic(), found
        return known[1]

    async def scores(self, images: Sequence[Content]) -> list[Score | Reject]:
        try:
            async with asyncio.TaskGroup() as group:  # where one is refused, none goes on
                tasks = [group.create_task(self._score(image)) for image in images]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def answers(
        self,
        image: Content,
        questions: Sequence[str],
        choices: Sequence[str] | None,
        most_tokens: int,
    ) -> list[Reply | Choice]:
        ask = partial(self._handle.answers.remote, image, questions, choices, most_tokens)
        found: list[Reply | Choice] = await self._answer(ask, ask)
        return found

    async def _score(self, image: Content) -> Score | Reject:
        ask = self._handle.score.remote, self._handle.score_alone.remote
        return await self._answer(*(partial(each, image) for each in ask))

    async def _answer(self, ask: Ask, again: Ask) -> Any:
        """The answer of one replica, or, where that dies, of another, which is asked `again`. One
        request at a time is: where it is what kills replicas, those that were beside it live."""
        try:
            return await _asked(ask)
        except RayActorError:
            pass
        async with self._again:
            try:
                return await _asked(again)
            except RayActorError:
                raise Deadly from None


async def _asked(ask: Ask) -> Any:
    asked = ask()
    try:
        return await asked
    except asyncio.CancelledError:  # too late, or the client has gone
        asked.cancel()  # a replica would go on
        raise
    except BackPressureError:
        raise Busy from None
    except DeploymentUnavailableError:
        raise Away from None
    except RayActorError:
        raise
    except Exception as error:
        mistake = mistake_in(error)
        if mistake is None:
            raise
        raise mistake from None


@serve.ingress()
class Door:
    """The routes, in front of the replicas of a model."""

    def __init__(self, model: DeploymentHandle, limits: Limits, token: str | None):
        self._built = app.build(Replicas(model), limits, token, observer())

    def __serve_build_asgi_app__(self) -> Any:
        return self._built


def build(service: Service) -> serve.Application:
    """The application of Ray Serve. The token, if any, is read from the environment here; its
    SHA-256 is all that goes further."""
    secret = os.environ.get(TOKEN)
    if secret == "":
        raise InputError(f"{TOKEN} is set and empty; set a token, or unset it")
    # Decorators would leave mypy with classes that have neither options nor bind.
    model: Any = serve.deployment(
        Model,
        name="Model",
        max_ongoing_requests=2 * BATCH,
        num_replicas=service.replicas,
        max_queued_requests=service.limits.waiting,
        graceful_shutdown_wait_loop_s=DRAIN_SECONDS,
        ray_actor_options={"num_cpus": service.cpus, "num_gpus": service.gpus},
    )
    token = None if secret is None else digest(secret)
    door: Any = serve.deployment(
        Door,
        name="Door",
        max_ongoing_requests=1_000,
        graceful_shutdown_wait_loop_s=DRAIN_SECONDS,
        ray_actor_options={"num_cpus": 0},
    )
    return door.bind(model.bind(service), service.limits, token)


def observer() -> Callable[[str, int, float], None]:
    """Counts requests in metrics that Ray exports for Prometheus."""
    tags = ("route", "status")
    requests = Counter("qsit_service_requests", "Requests answered", tags)
    seconds = Histogram("qsit_service_seconds", "Seconds of a request", SECONDS, ("route",))

    def observe(route: str, status: int, took: float) -> None:
        requests.inc(1.0, {"route": route, "status": str(status)})
        seconds.observe(took, {"route": route})

    return observe
