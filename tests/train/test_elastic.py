"""Ranks that come and go with their nodes: as many as there is place for, the same rows, and losses
as those of a training that nothing disturbed."""

import os
import subprocess

import pytest
from command_line import SMALL, committed, epochs, until, words

from qsit_ray.step_lines import StepLog

# Hundreds of steps, and a checkpoint every tenth.
LONG = {
    "mix": "{scoring: 1, interpreting: 8, general: 3}",
    "train.controller": "null",
    "train.epochs": 2,
    "train.workers": 2,
    "train.training.batch_size": 8,
    "train.micro_batch": 4,
    "train.checkpoint_steps": 10,
    "search.proxy_seeds": "[0]",
    "models.remember_features": "false",  # which ZeRO stage 3 can't
}


def steps(run):
    return StepLog(run / "train" / "steps.jsonl").lines()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return {**SMALL, **LONG, "cache": tmp_path_factory.mktemp("cache")}


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory):
    """That run on two ranks from its beginning to its end."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    done = subprocess.run(words(out, "demo", settings), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_training_goes_on_without_a_node_and_takes_it_in_when_it_returns(
    stage, settings, alone, monkeypatch, tmp_path
):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})

    def node():
        return cluster.add_node(num_cpus=1, labels={"qsit": "primary"})

    first, _ = node(), node()
    cluster.add_node(num_cpus=3, labels={"qsit": "proxy"})
    ray.init(address=cluster.address)
    out = tmp_path / "run"
    elastic = {
        "train.zero_stage": stage,
        "train.min_workers": 1,
        "train.one_node": "false",
        "train.nodes": "{qsit: primary}",
        "train.cpu_nodes": "{qsit: proxy}",
        "search.nodes": "{qsit: proxy}",
    }
    try:
        with subprocess.Popen(
            words(out, "demo", {**settings, **elastic}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"RAY_ADDRESS": cluster.address},
        ) as process:
            try:
                until(lambda: committed(out) > (0, 0), process)
                cluster.remove_node(first, allow_graceful=False)
                until(lambda: steps(out)[-1].ranks == 1, process)
                node()
                until(lambda: steps(out)[-1].ranks == 2, process)
                said, _ = process.communicate()
            finally:
                process.kill()
        assert process.returncode == 0, said
    finally:
        ray.shutdown()
        cluster.shutdown()
    ranks = [line.ranks for line in steps(out)]
    changes = [number for number in range(1, len(ranks)) if ranks[number] != ranks[number - 1]]
    assert [ranks[0], *(ranks[number] for number in changes)] == [2, 1, 2]
    for number in changes:
        line = steps(out)[number]
        words_of_it = f"{line.ranks} of 2 workers from epoch {line.epoch} step {line.step} on"
        assert words_of_it in said
    undisturbed = epochs(alone)
    for one, other in zip(epochs(out), undisturbed, strict=True):
        assert one["consumed"] == one["planned"] == other["planned"]
        assert one["rows_trained"] == one["rows_planned"]
        for loss in ("loss_scoring", "loss_interpreting"):
            assert one[loss] == pytest.approx(other[loss], rel=1e-3)
    each, whole = steps(out), steps(alone)
    assert [line.epoch for line in each] == [line.epoch for line in whole]
    assert [line.step for line in each] == [line.step for line in whole]
    assert [line.rows for line in each] == [line.rows for line in whole]
    assert [line.loss for line in each] == pytest.approx([line.loss for line in whole], rel=1e-3)
