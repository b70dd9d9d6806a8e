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


def of_kinds(path, head=None, **kinds):
    content = {"max_workers": 6, "head_node_type": "head"}
    content["available_node_types"] = {"head": head or {"resources": {"CPU": 0}}, **kinds}
    path.write_text(yaml.safe_dump(content))
    return path


def kind(gpus, **counts):
    return {"resources": {"CPU": 64, "GPU": gpus}, "labels": {"qsit": "proxy"}, **counts}


@pytest.mark.parametrize(
    ("kinds", "slots"),
    [
        ({"one": kind(1)}, 6),
        ({"one": kind(1), "eight": kind(8, max_workers=2)}, 2 * 8 + 4),
        # Four workers of another kind are always there, and count among the six.
        ({"other": {"resources": {"CPU": 4}, "min_workers": 4}, "one": kind(1)}, 2),
        ({"one": kind(1, min_workers=3, max_workers=3), "eight": kind(8, max_workers=1)}, 3 + 8),
        ({"head": kind(2)}, 2),
        ({"head": kind(2, max_workers=1), "one": kind(1)}, 2 + 2 + 5),
    ],
)
def test_workers_that_are_always_there_and_the_heads_kind_count(tmp_path, kinds, slots):
    assert estimated(of_kinds(tmp_path / "c.yaml", **kinds))["slots"] == slots


def test_mistakes_of_the_file_and_two_numbers_of_slots_are_refused(tmp_path):
    wrong = written(tmp_path / "c.yaml", head_node_type="haed")
    with pytest.raises(InputError, match="head_node_type 'haed' is none of"):
        estimated(wrong)
    with pytest.raises(InputError, match="--slots and --cluster: give one"):
        estimated(OWN, "--slots", "3")
