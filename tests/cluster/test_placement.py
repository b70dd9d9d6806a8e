"""Which nodes a cluster launches for the paper's work, by Ray's own scheduler."""

import shlex
from collections import Counter
from itertools import pairwise

import autoscaler
import pytest
from cluster_files import load, manifest

from qsit_ray import pool
from qsit_ray.config.files import override
from qsit_ray.config.presets import demo, paper, rehearsal
from qsit_ray.placement import prediction
from qsit_ray.search import tuner
from qsit_ray.stages import train
from qsit_ray.train.encoding import cpu_options

FILES = {
    "cluster.yaml": lambda: autoscaler.launcher("cluster.yaml"),
    "gcp.yaml": lambda: autoscaler.launcher("cluster/gcp.yaml"),
    "rayjob.yaml": lambda: autoscaler.kubernetes(manifest()[1]["spec"]["rayClusterSpec"]),
    "raycluster.yaml": lambda: autoscaler.kubernetes(load("cluster/raycluster.yaml")["spec"]),
}
WITHOUT_LABELS = ["search.nodes={}", "train.nodes={}", "train.cpu_nodes={}"]


@pytest.fixture(params=FILES)
def config(request, monkeypatch):
    """The autoscaler's configuration, in a session that has joined its cluster."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    return FILES[request.param]()


@pytest.fixture(params=["cluster.yaml", "gcp.yaml"])
def spot(request, monkeypatch):
    """The same of a file with proxies on spot machines and on demand."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    return FILES[request.param]()


def launched(config, demands, idle=None, failed=()):
    """Nodes that the autoscaler launches by what they are for; `idle`: the same of those there."""
    types = {
        name: (kind.labels["qsit"], kind.max_worker_nodes)
        for name, kind in config.get_node_type_configs().items()
        if kind.labels
    }
    left, there = dict(idle or {}), Counter()
    for name, (label, most) in types.items():
        there[name] = min(left.get(label, 0), most)
        left[label] = left.get(label, 0) - there[name]
    counts = Counter()
    for name, number in autoscaler.launched(config, demands, there, failed).items():
        counts[types[name][0]] += number
    return dict(counts)


def ranks(settings, workers=None):
    return autoscaler.of_ranks(train.scaling(settings, workers or settings.workers))


IDLE = [{}, {"proxy": 4}, {"proxy": 8}, {"cpu": 1}, {"cpu": 2, "proxy": 8}]


@pytest.mark.parametrize("idle", IDLE, ids=str)
def test_the_primary_launches_its_own_node_and_no_other(config, idle):
    assert launched(config, ranks(paper().train), idle) == {"primary": 1}


def test_the_primary_launches_nothing_where_its_node_is_up(config):
    assert launched(config, ranks(paper().train), {"primary": 1}) == {}


def test_without_labels_the_primary_would_take_what_there_is(config):
    spread = override(paper(), [*WITHOUT_LABELS, "train.one_node=false"]).train
    assert launched(config, ranks(spread), {"proxy": 8}) == {}


def test_ranks_leave_their_node_only_where_the_user_says_so(config):
    train = paper().train
    placement = ranks(train, 16)["gangs"]  # what the ranks wait for
    assert launched(config, {"gangs": placement}) == {}
    several = {"one_node": False, "nodes": {"qsit": "in(proxy, primary)"}}
    asked = ranks(train.model_copy(update=several), 16)
    assert launched(config, asked) == {"primary": 1, "proxy": 8}


@pytest.mark.parametrize("preset", [paper, rehearsal])
@pytest.mark.parametrize(
    ("waiting", "idle", "new"), [(1, 0, 1), (7, 0, 7), (57, 0, 8), (57, 5, 3), (57, 8, 0)]
)
def test_trials_launch_proxies_and_never_the_primarys_node(config, preset, waiting, idle, new):
    demands = autoscaler.of_trials(tuner.resources(preset().search), waiting)
    new_nodes = launched(config, demands, {"proxy": idle})
    assert new_nodes == ({"proxy": new} if new else {})


@pytest.mark.parametrize(
    ("waiting", "new"),
    [
        (1, {"proxy": 1}),
        (6, {"proxy": 6}),
        (7, {"proxy": 6, "proxy-on-demand": 1}),
        (57, {"proxy": 6, "proxy-on-demand": 2}),
    ],
)
def test_trials_start_spot_nodes_first(spot, waiting, new):
    demands = autoscaler.of_trials(tuner.resources(paper().search), waiting)
    assert autoscaler.launched(spot, demands) == new


def test_trials_start_nodes_on_demand_where_the_cloud_has_no_spot_node(spot):
    demands = autoscaler.of_trials(tuner.resources(paper().search), 1)
    assert autoscaler.launched(spot, demands, failed=["proxy"]) == {"proxy-on-demand": 1}


@pytest.mark.parametrize(("market", "node"), [("spot", "proxy"), ("on-demand", "proxy-on-demand")])
def test_the_label_of_the_market_keeps_trials_to_it(spot, market, node):
    asked = override(paper(), [f"search.nodes={{qsit: proxy, ray.io/market-type: {market}}}"])
    demands = autoscaler.of_trials(tuner.resources(asked.search), 57)
    assert set(autoscaler.launched(spot, demands)) == {node}


@pytest.mark.parametrize("idle", [{}, {"proxy": 8}], ids=str)
def test_a_task_without_a_gpu_launches_no_gpu_node(config, idle):
    demands = autoscaler.of_tasks(cpu_options(paper().train), 1)
    assert launched(config, demands, idle) == {"cpu": 1}


def test_many_tasks_without_a_gpu_never_launch_proxies(config):
    demands = autoscaler.of_tasks(cpu_options(paper().train), 500)
    assert "proxy" not in launched(config, demands)


def test_the_primarys_own_cores_encode_its_rows(config):
    demands = autoscaler.of_tasks(cpu_options(paper().train), 64)
    assert launched(config, demands, {"primary": 1}) == {}


def test_the_evaluation_runs_on_the_primarys_node(config):
    demands = autoscaler.of_tasks(pool.options(prediction(paper())), 3)
    assert launched(config, demands, {"proxy": 8}) == {"primary": 1}
    assert launched(config, demands, {"primary": 1}) == {}


def test_the_demos_job_launches_no_gpu_pod(config):
    words = shlex.split(manifest()[1]["spec"]["entrypoint"])
    sets = [value for word, value in pairwise(words) if word == "--set"]
    asked = override(demo(), sets)
    trials = autoscaler.of_trials(tuner.resources(asked.search), 42)
    tasks = autoscaler.of_tasks(cpu_options(asked.train), 42)
    most = config.get_node_type_configs()["cpu"].max_worker_nodes
    for demands in (trials, tasks):
        assert launched(config, demands) == {"cpu": most}
    assert launched(config, ranks(asked.train)) == {"cpu": 1}


def test_without_a_cluster_labels_are_ignored(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    asked = paper()
    labelled = tuner.resources(asked.search)
    assert labelled == tuner.resources(override(asked, WITHOUT_LABELS).search)
    assert train.scaling(asked.train, 8).label_selector is None
    assert cpu_options(asked.train)["label_selector"] == {}
    assert pool.options(prediction(asked))["label_selector"] == {}
