"""What the routes are told of replicas that are busy, die, or stay away."""

import asyncio

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from qsit_ray.data.images import Content
from qsit_ray.errors import InputError
from qsit_ray.rating.results import Score
from qsit_ray.service.deployment import TRIES, Replicas, Service
from qsit_ray.service.limits import Away, Busy, Limits

SCORE = Score("a", 3.0, {"good": 1.0}, 0.0, 0.0, 1.0)
IMAGE = Content(b"", "a")


class Handle:
    """Gives the planned answers of each method in turn, the last one for ever."""

    def __init__(self, *planned):
        self.planned, self.calls = planned, 0
        self.score = self.conditions = self.answers = self

    async def remote(self, *given):
        answer = self.planned[min(self.calls, len(self.planned) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def scores(handle, count=1):
    return asyncio.run(Replicas(handle).scores([IMAGE] * count))


def test_an_image_whose_replica_dies_is_given_to_another():
    handle = Handle(ActorDiedError(), SCORE)
    assert scores(handle) == [SCORE]
    assert handle.calls == 2


def test_an_image_is_given_to_no_more_than_some_replicas():
    handle = Handle(ActorDiedError())
    with pytest.raises(Away):
        scores(handle)
    assert handle.calls == TRIES


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
