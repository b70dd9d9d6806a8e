"""The user's mistake, wherever the libraries have wrapped it."""

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from qsit_ray.errors import InputError, mistake_in
from qsit_ray.session import session

MISTAKE = InputError("images/7.png: image file is missing")


def task_error(cause):
    """What `ray.get` raises: an InputError itself, with a traceback as its text."""
    return RayTaskError("work", "Traceback ...\n  line\nInputError: x", cause).as_instanceof_cause()


def chained(error, cause):
    error.__cause__ = cause
    return error


WRAPPED = {
    "itself": MISTAKE,
    "a task's": task_error(MISTAKE),
    "a task's task's": task_error(task_error(MISTAKE)),
    "a worker's": WorkerGroupError("x", {1: UserExceptionWithTraceback(MISTAKE, "Traceback")}),
    "a data task's, met by a worker": WorkerGroupError(
        "x",
        {0: RuntimeError("a broken pipe"), 1: UserExceptionWithTraceback(task_error(MISTAKE), "")},
    ),
    "a data task's, with Ray Data's advice": task_error(InputError(f"{MISTAKE}\nFailed to map")),
    "a callback's": ControllerError(ControllerError(MISTAKE)),
    "behind another": chained(RuntimeError("failed"), chained(OSError("x"), MISTAKE)),
}


@pytest.mark.parametrize("way", WRAPPED)
def test_a_mistake_is_found_with_its_own_text(way):
    found = mistake_in(WRAPPED[way])
    assert type(found) is InputError
    assert str(found) == str(MISTAKE)


def test_a_failure_is_no_mistake():
    circle = RuntimeError("one")
    chained(circle, chained(RuntimeError("two"), circle))
    for error in (circle, task_error(OSError("x")), WorkerGroupError("x", {0: KeyError("y")})):
        assert mistake_in(error) is None


@pytest.mark.parametrize("way", [way for way in WRAPPED if way != "behind another"])
def test_a_mistake_survives_the_way_between_processes(way):
    """Python itself does not pickle what an error was raised from."""
    assert str(mistake_in(cloudpickle.loads(cloudpickle.dumps(WRAPPED[way])))) == str(MISTAKE)


def test_a_session_raises_the_mistake_of_any_of_its_processes():
    def read(image):
        raise InputError(f"{image}: image file is missing")

    with pytest.raises(InputError) as error, session(1):
        ray.get(ray.remote(read).remote("images/7.png"))
    assert str(error.value) == str(MISTAKE)
    assert not isinstance(error.value, (RayTaskError, TrainingFailedError))
