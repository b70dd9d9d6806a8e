"""Work ahead gives the same results in the same order, and is one step ahead at most."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.ahead import ahead


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=8), st.integers(0, 4))
def test_results_are_those_of_the_items_in_their_order(steps, threads):
    expected = [[item * 2 for item in items] for items in steps]
    assert list(ahead(steps, lambda item: item * 2, threads)) == expected


def test_the_next_step_is_worked_on_while_the_caller_has_this_one_and_none_beyond():
    begun = [threading.Event() for _ in range(4)]
    results = ahead(([n] for n in range(4)), lambda n: begun[n].set() or n, 2)
    for step in range(2):
        assert next(results) == [step]
        assert begun[step + 1].wait(10)
        assert not begun[step + 2].is_set()
    results.close()
    assert not begun[3].is_set()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_is_raised_at_its_step(threads):
    def work(n):
        if n == 2:
            raise ValueError("item 2")
        return n

    results = ahead([[0, 1], [2]], work, threads)
    assert next(results) == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
