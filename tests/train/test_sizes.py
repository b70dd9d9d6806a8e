"""How many ranks start and when: within the bounds, on nodes that are there, after a checkpoint."""

from types import SimpleNamespace

import pytest
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller.state import (
    ReschedulingState,
    RestartingState,
    RunningState,
    SchedulingState,
)
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision
from ray.train.v2.api.exceptions import ControllerError

from qsit_ray.config.files import override
from qsit_ray.config.presets import paper
from qsit_ray.placement import Node, ranks
from qsit_ray.stages.train import scaling
from qsit_ray.train import sizes
from qsit_ray.train.checkpoint import Checkpoints, Commit
from qsit_ray.train.sizes import Sizes

ERROR = ControllerError(WorkerGroupStartupTimeoutError(4))
LABELS = {"qsit": "primary"}


def node(free, labels=LABELS):
    return Node({"CPU": 16.0, "GPU": 2.0}, labels, {"CPU": 16.0, "GPU": free})


@pytest.fixture
def cluster(monkeypatch):
    """The nodes that the policy sees."""
    nodes = {}
    monkeypatch.setattr(sizes, "_nodes", lambda: nodes)
    monkeypatch.setattr(sizes, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(Sizes, "_maybe_send_resource_request", lambda self: None)
    return nodes


@pytest.fixture
def policy(cluster, tmp_path):
    """Two to four ranks of a GPU each, two epochs."""
    settings = ["train.workers=4", "train.min_workers=2", "train.one_node=false"]
    train = override(paper(), settings).train
    checkpoints = Checkpoints(tmp_path, 2)
    checkpoints.claim("me", {})
    return Sizes(scaling(train, 4), ranks(train, 4), checkpoints, 2)


def started(policy):
    """The number that a start is decided with; None where it waits."""
    decision = policy.make_decision_for_non_running_worker_group()
    return decision.num_workers if isinstance(decision, ResizeDecision) else None


def resized(policy, *nodes):
    """The number that ranks on these nodes are resized to."""
    workers = [SimpleNamespace(metadata=SimpleNamespace(node_id=name)) for name in nodes]
    group = SimpleNamespace(workers=workers, num_workers=len(workers))
    decision = policy.make_decision_for_running_worker_group(group, None)
    return None if isinstance(decision, NoopDecision) else decision.num_workers


def commit(policy, name, epoch, step):
    (policy.checkpoints.folder / name).mkdir()
    policy.checkpoints.commit(Commit(name, epoch, step, None), "me")


def test_all_ranks_start_at_once_and_fewer_once_no_more_nodes_come(policy, cluster, monkeypatch):
    assert started(policy) is None
    cluster["a"] = node(2.0)
    assert started(policy) is None
    monkeypatch.setattr(sizes, "SETTLE_SECONDS", 0.0)
    assert started(policy) == 2


def test_nothing_starts_below_the_minimum(policy, cluster, monkeypatch):
    monkeypatch.setattr(sizes, "SETTLE_SECONDS", 0.0)
    cluster["a"] = node(1.0)  # other work holds the other
    assert started(policy) is None
    cluster["b"] = node(2.0, {"qsit": "proxy"})
    assert started(policy) is None
    cluster["c"] = node(1.0)
    assert started(policy) == 2


def test_a_node_that_has_just_died_is_not_counted_at_once(policy, cluster, monkeypatch):
    cluster.update(a=node(2.0), b=node(2.0))
    assert started(policy) == 4
    assert resized(policy, "a", "a", "b", "b") is None
    policy.after_controller_state_update(RunningState(), RestartingState(ERROR))
    # The places of the ranks that ended are still taken.
    cluster.update(a=node(0.0), b=node(0.0))
    assert started(policy) is None
    del cluster["b"]
    monkeypatch.setattr(sizes, "SETTLE_SECONDS", 0.0)
    assert started(policy) == 2


def test_after_a_start_that_failed_only_what_is_free_counts(policy, cluster, monkeypatch):
    monkeypatch.setattr(sizes, "SETTLE_SECONDS", 0.0)
    cluster.update(a=node(0.0), b=node(0.0))  # other work holds half of b
    assert resized(policy, "a", "a", "b") is None
    policy.after_controller_state_update(RunningState(), RestartingState(ERROR))
    assert started(policy) == 3
    cluster.update(a=node(2.0))
    waiting = SchedulingState(ResizeDecision(4, {"GPU": 1.0}))
    policy.after_controller_state_update(waiting, ReschedulingState(ERROR))
    assert started(policy) == 2


def test_ranks_become_more_after_a_checkpoint_and_never_fewer(policy, cluster):
    cluster.update(a=node(0.0), b=node(2.0))
    assert resized(policy, "a", "a") is None  # steps without a checkpoint would be lost
    commit(policy, "first", 0, 5)
    assert resized(policy, "a", "a") == 4
    assert resized(policy, "a", "a") is None
    commit(policy, "second", 0, 10)
    cluster["b"] = node(0.0)  # others have taken it
    assert resized(policy, "a", "a") is None
    del cluster["b"]
    commit(policy, "third", 1, 0)
    assert resized(policy, "a", "a", "b", "b") is None


def test_the_last_checkpoint_starts_no_more_ranks(policy, cluster):
    cluster.update(a=node(0.0), b=node(2.0))
    commit(policy, "last", 2, 0)
    assert resized(policy, "a", "a") is None
