"""Trials that an autoscaler's nodes hold at once, from Ray's cluster launcher YAML."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.errors import InputError

OWN = Path(__file__).parents[2] / "cluster.yaml"


def estimated(cluster, *words):
    done = CliRunner().invoke(
        app,
        ["search", "estimate", "--preset", "paper", "--json", "--cluster", str(cluster), *words],
    )
    if done.exception:
        raise done.exception
    return json.loads(done.stdout)


def written(path, **changes):
    content = yaml.safe_load(OWN.read_text()) | changes
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_projects_cluster_holds_a_trial_on_each_node_for_proxies(tmp_path):
    found = estimated(OWN)
    assert (found["slots"], found["slots_from"]) == (8, str(OWN))
    assert (
        found["wall_hours"] < estimated(written(tmp_path / "c.yaml", max_workers=3))["wall_hours"]
    )


def test_workers_of_all_kinds_together_are_bounded(tmp_path):
    assert estimated(written(tmp_path / "c.yaml", max_workers=3))["slots"] == 3


def test_without_labels_eight_gpus_hold_eight_trials(tmp_path):
    found = estimated(OWN, "--set", "search.nodes={}", "--set", "search.cpus_per_trial=8")
    assert found["slots"] == 8 + 8
    # The largest nodes come first.
    one = written(tmp_path / "c.yaml", max_workers=1)
    assert estimated(one, "--set", "search.nodes={}")["slots"] == 8


def test_a_cluster_without_a_node_for_a_trial_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds a trial: 4 CPU, 2 GPU, qsit=proxy$"):
        estimated(OWN, "--set", "search.gpus_per_trial=2")
    with pytest.raises(InputError, match=r"c\.yaml: .*available_node_types"):
        estimated(_without_types(tmp_path / "c.yaml"))


def _without_types(path):
    path.write_text("max_workers: 2\n")
    return path


def test_a_node_type_without_resources_is_named(tmp_path):
    content = yaml.safe_load(OWN.read_text())
    del content["available_node_types"]["proxy"]["resources"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"available_node_types\.proxy\.resources: state its CPU"):
        estimated(tmp_path / "c.yaml")
