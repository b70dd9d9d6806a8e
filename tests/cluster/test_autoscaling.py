"""Ray's autoscaler with nodes on this machine: what comes late, and what never comes."""

import json

import pytest
import yaml

from qsit_ray.config.presets import paper
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.autoscaling import KINDS, SETTINGS, rehearse
from qsit_ray.placement import ranks, trial
from qsit_ray.session import check_launcher


@pytest.mark.slow
def test_the_primary_starts_when_its_node_comes_late_and_all_nodes_go():
    """Ray Train's own patience would have ended after 60 s."""
    found = rehearse({"proxy": 2.0, "primary": 75.0})
    assert found.status == 0, found.printed
    assert (found.most("proxy"), found.most("primary")) == (2, 1)
    assert found.nodes[0][1] == found.nodes[-1][1] == {}
    assert "waiting 0:00:2" in found.printed
    assert "the autoscaler brings 1 primary" in found.printed
    assert "the training: no longer waiting, after 0:01:" in found.printed


@pytest.mark.slow
def test_a_node_that_never_comes_ends_the_run_with_what_was_asked():
    settings = (*SETTINGS, "cluster.wait_minutes=0.5")
    found = rehearse({"primary": 3600.0}, settings)
    assert found.status == 1
    assert "cluster.wait_minutes: waited 0:00:3" in found.printed
    assert "the training: 8 × (1 GPU, qsit=primary) on one node" in found.printed
    assert "the autoscaler brings 1 primary" in found.printed


@pytest.mark.slow
def test_a_node_type_that_is_not_there_ends_the_run_early():
    found = rehearse({}, SETTINGS, {"proxy": KINDS["proxy"]})
    assert found.status == 1
    assert "no node that the autoscaler may bring holds the training" in found.printed


def test_what_the_launchers_nodes_never_hold_is_refused_on_its_head(tmp_path, monkeypatch):
    train, search = paper().train, paper().search
    kinds = {"head": {"resources": {"CPU": 0}}, **json.loads(json.dumps(KINDS))}
    content = {"head_node_type": "head", "max_workers": 3, "available_node_types": kinds}
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    check_launcher([ranks(train, 8)])
    with pytest.raises(InputError, match=r"the training asks for 9 × .* hold 8 of 9$"):
        check_launcher([ranks(train, 9)])
    with pytest.raises(InputError, match=r"a trial asks for \(4 CPU, 1 GPU, qsit=proxy\)"):
        check_launcher([trial(search)])
