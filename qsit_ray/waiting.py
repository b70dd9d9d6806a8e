"""pure: work that waits for a cluster: what is said of it and of the head, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

FIRST_SECONDS = 20.0
"""A node that is there gives its resources sooner."""
NEVER_SECONDS = 120.0
"""After so long nothing changes a demand that the autoscaler has no node for, on a cluster that
holds no other node to become free."""
TASKS = "tasks"
"""What tasks are called, whichever of them waits."""
AGAIN = (60.0, 120.0, 300.0)
"""Seconds at which it is said again; afterwards each `AGAIN[-1]`."""
SILENT_SECONDS = 10.0
"""A head that is there answers sooner."""
BEFORE_SECONDS = 10.0
"""The command ends so long before Ray would end its process, without a word."""


class Starved(RuntimeError):
    """Work got no resources for as long as the user wanted to wait."""


class HeadLost(RuntimeError):
    """The cluster's head has not answered for as long as Ray waits for it."""


@dataclass(frozen=True)
class Demand:
    """Equal pieces of work that ask for the same."""

    what: str
    """`trials`, `the training`."""
    asks: str
    """One piece's request: `8 × (1 GPU, qsit=primary) on one node`."""
    waiting: int
    """Pieces without their resources."""
    held: int
    """Pieces that have them."""
    fitting: int = 0
    """Nodes of the cluster that could hold a piece, or a part of one that may be on several, if
    nothing else ran there."""
    refused: bool = False
    """Whether the autoscaler says that no node it may bring now holds a piece."""

    @property
    def starved(self) -> bool:
        """Whether none of the pieces has what it asks for."""
        return self.waiting > 0 and self.held == 0

    @property
    def key(self) -> tuple[str, str]:
        return self.what, "" if self.what == TASKS else self.asks

    def __str__(self) -> str:
        number = f"{self.waiting} × " if self.waiting > 1 else ""
        return f"{self.what}: {number}{self.asks}"


@dataclass(frozen=True)
class Resources:
    """The cluster at a moment."""

    nodes: int
    """Nodes that are alive, the head included."""
    free: Mapping[str, tuple[float, float]]
    """Of each resource how much is free, and how much there is."""
    autoscaler: bool = False
    """Whether there is one that says what it does."""
    coming: Mapping[str, int] = field(default_factory=dict)
    """Nodes of each type that it has asked for or that are starting."""
    failed: tuple[str, ...] = ()
    """What kept it from bringing nodes."""

    def beside(self, demand: Demand) -> str:
        """What there is for `demand`, in words."""
        free = ", ".join(f"{now:g} of {all_:g} {name}" for name, (now, all_) in self.free.items())
        return (
            f"{demand.fitting} of {self.nodes} {'node' if self.nodes == 1 else 'nodes'} could hold "
            f"it; free: {free or 'nothing'}; {self._autoscaler()}"
        )

    @property
    def busy(self) -> bool:
        """Whether workers are there or coming: once they go, others may come in their place."""
        return self.nodes > 1 or bool(self.coming)

    def _autoscaler(self) -> str:
        if not self.autoscaler:
            return "no autoscaler tells that it brings any"
        coming = ", ".join(f"{number} {kind}" for kind, number in self.coming.items())
        failed = "".join(f"; it failed: {reason}" for reason in self.failed[-1:])
        return f"the autoscaler brings {coming or 'none'}{failed}"


@dataclass
class _Wait:
    since: float
    said: int = 0
    """Times that it was said."""

    def due(self) -> float:
        """Seconds of waiting at which it is to be said next."""
        times = (FIRST_SECONDS, *AGAIN)
        later = max(0, self.said - len(times) + 1)
        return times[min(self.said, len(times) - 1)] + later * AGAIN[-1]


class Patience:
    """What to say of successive looks at a cluster. Seconds are of any clock that only goes on."""

    def __init__(self, minutes: float):
        self.minutes = minutes
        self.waits: dict[tuple[str, str], _Wait] = {}

    def look(self, demands: list[Demand], resources: Resources, seconds: float) -> Iterator[str]:
        """The lines to be said now. Raises Starved for a demand that has waited `minutes`, unless
        other work of the job may hold its place, and for one that no node can ever meet."""
        starved = {demand.key: demand for demand in demands if demand.starved}
        held = {demand.key for demand in demands if demand.held}
        for key in [key for key in self.waits if key not in starved]:
            wait = self.waits.pop(key)
            if wait.said and key in held:
                yield f"{key[0]}: no longer waiting, after {_clock(seconds - wait.since)}"
        for key, demand in starved.items():
            wait = self.waits.setdefault(key, _Wait(seconds))
            waited = seconds - wait.since
            never = demand.refused and not demand.fitting and not resources.busy
            there = resources.beside(demand)
            if never and waited >= NEVER_SECONDS:
                raise Starved(f"no node that the autoscaler may bring holds {demand}; {there}")
            # Work of this job itself may be what holds its place.
            taken = demand.fitting and held - {key}
            if waited >= 60 * self.minutes and not taken:
                raise Starved(
                    f"cluster.wait_minutes: waited {_clock(waited)} for {demand}; {there}"
                )
            if waited >= wait.due():
                while waited >= wait.due():
                    wait.said += 1
                yield f"waiting {_clock(waited)} for {demand}; {there}"


@dataclass
class Silence:
    """What to say of a head that does not answer, of `patience` seconds until Ray gives it up.
    Seconds are of any clock that only goes on."""

    head: str
    patience: float
    since: float | None = None
    said: bool = False

    def look(self, answers: bool, seconds: float) -> Iterator[str]:
        """The lines to be said now. Raises HeadLost when the patience is nearly over."""
        if answers:
            if self.said and self.since is not None:
                yield f"the cluster's head answers again, after {_clock(seconds - self.since)}"
            self.since, self.said = None, False
            return
        self.since = seconds if self.since is None else self.since
        silent = seconds - self.since
        if silent >= max(self.patience - BEFORE_SECONDS, self.patience / 2):
            raise HeadLost(
                f"the cluster's head at {self.head} has not answered for {_clock(silent)}"
            )
        if silent >= SILENT_SECONDS and not self.said:
            self.said = True
            yield (
                f"the cluster's head at {self.head} does not answer; this command ends unless it "
                f"does within {_clock(self.patience - silent)}; finished work is kept, and the "
                "same command resumes"
            )


def _clock(seconds: float) -> str:
    """`0:06:20`."""
    return str(timedelta(seconds=round(seconds)))
