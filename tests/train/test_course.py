"""Where the training stands: told by rank 0, served to the Dataset, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.controller import MixtureController
from qsit_ray.mixture import Mixture
from qsit_ray.train.course import Course, Position

FIRST = Mixture(100, 200, 80)
losses = st.floats(0.01, 10)


def course():
    return Course(MixtureController(FIRST, reference_loss_ratio=0.5))


def test_the_step_stands_beside_the_epochs_mixture():
    subject = course()
    assert subject.begin({"decisions": []}, 7, 4) == Position(0, 7, FIRST, 4)
    assert subject.position() == Position(0, 7, FIRST, 4)


def test_an_actor_that_came_back_empty_serves_nothing():
    with pytest.raises(RuntimeError, match="nobody has said"):
        course().position()


@given(st.lists(st.tuples(losses, losses), min_size=1, max_size=4))
def test_decisions_are_the_same_from_an_actor_that_came_back_empty(history):
    steady, told = course(), {"decisions": []}
    for epoch, pair in enumerate(history):
        expected = steady.decide(told, epoch, *pair)
        assert course().decide(told, epoch, *pair) == expected
        _, told = expected
    assert course().begin(told, 0, 2).mixture == steady.begin(told, 0, 2).mixture


def test_what_is_shown_is_what_was_told():
    subject = course()
    assert subject.shown() == (0, 0)
    subject.show(3, 9)
    assert subject.shown() == (3, 9)
