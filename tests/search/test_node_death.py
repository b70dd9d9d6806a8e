"""A search on a cluster survives the death of one of its nodes."""

import os
import subprocess

import psutil
import pyarrow.parquet as pq
import pytest
from command_line import wait, words

from qsit_ray.config.presets import rehearsal
from qsit_ray.mixture import AXES

# Ray finds out within seconds, not half a minute.
QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_timeout_ms": "1000",
}


@pytest.fixture
def cluster(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_trials_of_a_dead_node_resume_on_another(cluster, tmp_path):
    labels = rehearsal().search.nodes
    nodes = [cluster.add_node(num_cpus=2, num_gpus=2, labels=labels) for _ in range(2)]
    cluster.add_node(num_cpus=2, num_gpus=2)  # of another kind: no trial may run there
    out = tmp_path / "run"
    # The primary's ranks are held as well, on one of these nodes.
    ranks = {"train.workers": 1, "train.nodes": "{qsit: proxy}"}
    command = words(out, "rehearsal", {"search.rehearsal.rows_per_second": 400000, **ranks})
    there = os.environ | {"RAY_ADDRESS": cluster.address}
    log = tmp_path / "shown"
    with log.open("w") as shown:
        process = subprocess.Popen(command, stdout=shown, stderr=subprocess.STDOUT, env=there)
    wait(
        psutil.Process(process.pid),
        lambda: len(list(out.glob("search/*/outcomes/*.json"))) >= 20,
    )
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    assert process.wait() == 0, log.read_text()
    for axis in AXES:
        table = pq.read_table(out / "search" / axis / "trials.parquet").to_pylist()
        assert len({(row["ratio"], row["seed"]) for row in table}) == len(table) == 57
        assert {row["status"] for row in table} == {"completed"}
