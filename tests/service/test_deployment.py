"""What the routes are told of replicas that are busy, die, or stay away."""

import asyncio
import threading

import pytest
import small_model
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from qsit_ray.data.images import Content
from qsit_ray.errors import InputError
from qsit_ray.rating.results import Score
from qsit_ray.service.deployment import Model, Replicas, Service
from qsit_ray.service.limits import Away, Busy, Deadly, Limits

SCORE = Score("a", 3.0, {"good": 1.0}, 0.0, 0.0, 1.0)
IMAGE = Content(b"", "a")


class Response:
    """What a handle gives: an answer that is awaited, or an error; without either none comes."""

    def __init__(self, answer=None):
        self.answer, self.is_cancelled = answer, False
        self.given = asyncio.Event()

    def give(self, answer):
        self.answer = answer
        self.given.set()

    def cancel(self):
        self.is_cancelled = True

    def __await__(self):
        if self.answer is None:
            yield from self.given.wait().__await__()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Handle:
    """Gives the planned answers of each method in turn, the last one for ever."""

    def __init__(self, *planned):
        self.planned, self.given = planned, []
        self.score = self.score_alone = self.conditions = self.answers = self

    @property
    def calls(self):
        return len(self.given)

    def remote(self, *given):
        answer = self.planned[min(self.calls, len(self.planned) - 1)]
        self.given.append(Response(answer))
        return self.given[-1]


def scores(handle, count=1):
    return asyncio.run(Replicas(handle).scores([IMAGE] * count))


def test_an_image_whose_replica_dies_is_given_to_another():
    handle = Handle(ActorDiedError(), SCORE)
    assert scores(handle) == [SCORE]
    assert handle.calls == 2


def test_a_request_is_given_to_no_third_replica():
    handle = Handle(ActorDiedError())
    with pytest.raises(Deadly):
        scores(handle)
    with pytest.raises(Deadly):
        asyncio.run(Replicas(handle).answers(IMAGE, ["q"], None, 1))
    assert handle.calls == 4


class Killed:
    """Replicas in turn, each of which dies with all that it was asked when one image is a killer's;
    what is asked in one turn of the loop is asked of one."""

    def __init__(self):
        self.score = self.score_alone = self
        self.asked, self.deaths = [], 0

    def remote(self, image):
        response = Response()
        self.asked.append((image, response))
        asyncio.get_running_loop().call_later(0, self.answer)
        return response

    def answer(self):
        asked, self.asked = self.asked, []
        is_dead = any(image.name == "killer" for image, _ in asked)
        self.deaths += is_dead
        for _, response in asked:
            response.give(ActorDiedError() if is_dead else SCORE)


def test_images_beside_one_that_kills_replicas_get_their_scores():
    handle = Killed()

    async def asked():
        replicas = Replicas(handle)
        names = ["a", "killer", "b", "c"]
        requests = [replicas.scores([Content(b"", name)]) for name in names]
        return await asyncio.gather(*requests, return_exceptions=True)

    first, killer, *others = asyncio.run(asked())
    assert isinstance(killer, Deadly)
    assert [first, *others] == [[SCORE]] * 3
    assert handle.deaths == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BackPressureError(num_queued_requests=9, max_queued_requests=8), Busy),
        (DeploymentUnavailableError(None), Away),
        (InputError("a: no image"), InputError),
        (MemoryError(), MemoryError),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_what_a_replica_can_not_do_is_not_asked_twice(error, told):
    handle = Handle(error)
    with pytest.raises(told):
        scores(handle)
    assert handle.calls == 1
    with pytest.raises(told):
        scores(Handle(SCORE, error), count=2)


def test_a_model_that_has_died_is_not_ready():
    async def ready_and_then():
        replicas = Replicas(Handle({"model": "m"}, ActorDiedError()), fresh_seconds=-1)
        assert await replicas.conditions() == {"model": "m"}
        await replicas.conditions()

    with pytest.raises(Away):
        asyncio.run(ready_and_then())


def test_a_model_is_not_asked_at_every_request():
    async def twice():
        handle = Handle({"model": "m"})
        replicas = Replicas(handle, fresh_seconds=1e9)
        assert await replicas.conditions() == await replicas.conditions()
        return handle.calls

    assert asyncio.run(twice()) == 1


def test_all_images_of_a_request_may_wait():
    for images in (1, 64, 1_000):
        assert Service(model="m", images=images).limits.waiting >= max(images, Limits.waiting)


def test_a_request_of_any_allowed_size_may_be_held():
    for megabytes in (1, 32, 1_000):
        limits = Service(model="m", megabytes=megabytes).limits
        assert limits.held_bytes > limits.body_bytes == megabytes * 2**20


@pytest.mark.parametrize("ask", ["scores", "answers", "conditions"])
def test_what_nobody_waits_for_is_cancelled_in_the_replica(ask):
    given = {"scores": ([IMAGE, IMAGE],), "answers": (IMAGE, ["q"], None, 1), "conditions": ()}
    handle = Handle(None)

    async def waits():
        await asyncio.wait_for(getattr(Replicas(handle), ask)(*given[ask]), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(waits())
    assert handle.calls
    assert all(each.is_cancelled for each in handle.given)


def test_a_replica_stops_at_questions_that_nobody_waits_for(tmp_path):
    """Within an answer, and before the next question; then it answers others."""
    model = Model(Service(model=str(small_model.write(tmp_path / "m"))))
    decoder = model._rater.checkpoint.model.model
    computing, go_on, calls = threading.Event(), threading.Event(), []

    def planted(*_):
        calls.append(1)
        if len(calls) == 3:
            computing.set()
            go_on.wait()

    decoder.register_forward_hook(planted)
    image = Content(small_model.image(0), "a")

    async def left_and_next():
        asked = model.answers(image, ["Is it sharp?"] * 32, None, 2_048)
        abandoned = asyncio.create_task(asked)
        await asyncio.to_thread(computing.wait)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        go_on.set()
        before = len(calls)
        (found,) = await model.answers(image, ["Is it noisy?"], ["Yes", "No"], 1)
        return before, found

    before, found = asyncio.run(left_and_next())
    assert found.answer in ("Yes", "No")
    assert len(calls) - before <= 4  # the abandoned token, the image, the question, the choices
