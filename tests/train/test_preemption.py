"""A notice that a node is about to go: a checkpoint at once, and the rest on another node."""

import os
import subprocess
import time

import pytest
from command_line import SMALL, committed, epochs, sets, until, untimed, words

from qsit_ray.train import notices
from qsit_ray.train.notices import Notices

# 40 rows of D1 and many more: minutes of steps without a planned checkpoint.
LONG = {
    "mix": "{scoring: 1, interpreting: 30, general: 10}",
    "train.controller": "null",
    "train.epochs": 1,
    "train.workers": 1,
    "train.training.batch_size": 8,
    "train.nodes": "{qsit: primary}",
    "search.proxy_seeds": "[0]",
}


@pytest.fixture
def told(monkeypatch):
    """What Ray tells of nodes that go; the next look is due at once."""
    said = []
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")
    monkeypatch.setattr(notices, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(notices.ray.train, "get_preemption_info", lambda: said[-1])
    return said


def test_each_notice_counts_once(told):
    from ray.train import PreemptionInfo

    first = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [0]})
    second = PreemptionInfo(deadline_ms=1_800_000_000_000, preempted_node_to_ranks={"a": [0]})
    noticed, new = Notices(), []
    assert noticed.is_due()
    for info in (None, first, first, second, second):
        told.append(info)
        new.append(noticed.is_new())
    assert new == [False, True, False, True, False]


def test_a_machine_of_ones_own_never_asks(monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    monkeypatch.setattr(notices, "EVERY_SECONDS", 0.0)
    assert not Notices().is_due()


def node_of_the_rank():
    """The id of the node that the training's rank runs on; None while there is none."""
    from ray.util.state import list_actors

    alive = list_actors(filters=[("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")])
    return alive[0].node_id if alive else None


@pytest.mark.slow
def test_a_checkpoint_is_written_at_the_notice_and_the_rest_is_trained_elsewhere(
    monkeypatch, tmp_path
):
    import ray
    from ray._raylet import GcsClient
    from ray.cluster_utils import Cluster
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    alone = subprocess.run(
        words(tmp_path / "alone", "demo", {**SMALL, **LONG, "cache": tmp_path / "cache"}),
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 0, alone.stderr
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=3, labels={"qsit": "primary"}) for _ in range(2)]
    cluster.add_node(num_cpus=2, labels={"qsit": "proxy"})
    ray.init(address=cluster.address)
    out = tmp_path / "run"
    command = words(out, "demo", {**SMALL, **LONG, "cache": tmp_path / "cache"})
    command += sets({"search.nodes": "{qsit: proxy}"})
    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"RAY_ADDRESS": cluster.address},
        ) as process:
            going = until(node_of_the_rank, process)
            steps = out / "train" / "steps.jsonl"
            until(lambda: steps.exists() and len(steps.read_text().splitlines()) > 5, process)
            reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            deadline = int(1000 * (time.time() + 60))
            gcs = GcsClient(cluster.address)
            gcs.drain_node(going, reason, "the spot machine is reclaimed", deadline)
            epoch, step = until(lambda: committed(out) > (0, 0) and committed(out), process)
            assert epoch == 0
            assert step > 0
            (gone,) = (node for node in nodes if node.node_id == going)
            cluster.remove_node(gone, allow_graceful=False)
            said, _ = process.communicate()
        assert process.returncode == 0, said
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(epochs(out)) == 1
    assert untimed(out) == untimed(tmp_path / "alone")
