"""A gauge's values are set again and again, or Ray would forget them."""

import threading

import pytest

from qsit_ray import gauge
from qsit_ray.gauge import HeldGauge


class Exported:
    """Ray's gauge, which says when it has been set `enough` times."""

    def __init__(self, name, description, tag_keys):
        self.values, self.enough = [], threading.Event()
        Exported.last = self

    def set(self, value, tags):
        self.values.append((value, tags))
        if len(self.values) >= 8:
            self.enough.set()


@pytest.fixture
def initialized(monkeypatch):
    state = [True]
    monkeypatch.setattr(gauge, "Gauge", Exported)
    monkeypatch.setattr(gauge.ray, "is_initialized", lambda: state[0])
    monkeypatch.setattr(gauge, "EVERY_SECONDS", 0.001)
    yield state
    state[0] = False


def test_each_value_is_exported_until_the_session_ends(initialized):
    before = {*threading.enumerate()}
    held = HeldGauge("qsit_train_rows", "Rows", ("domain",))
    held.set(1.0, {"domain": "scoring"})
    held.set(2.0, {"domain": "general"})
    held.set(3.0, {"domain": "scoring"})
    assert Exported.last.enough.wait(60)
    repeated = Exported.last.values[3:]
    assert {tags["domain"]: value for value, tags in repeated} == {"scoring": 3.0, "general": 2.0}
    (repeating,) = {*threading.enumerate()} - before
    initialized[0] = False
    repeating.join(60)
    assert not repeating.is_alive()
    initialized[0] = True  # another session: only what is set then
    Exported.last.values, Exported.last.enough = [], threading.Event()
    held.set(4.0, {"domain": "general"})
    assert Exported.last.enough.wait(60)
    assert {value for value, _ in Exported.last.values} == {4.0}
