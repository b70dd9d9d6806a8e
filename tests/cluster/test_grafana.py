"""cluster/grafana/qsit.json: Grafana shows the metrics that are exported, all of them, no other."""

import ast
import json
import re

import pytest
from cluster_files import ROOT
from ray.util import metrics

from qsit_ray.search.gauges import SearchGauges
from qsit_ray.service.deployment import observer
from qsit_ray.train.course import ShownCourse
from qsit_ray.train.gauges import StepGauges

DASHBOARD = ROOT / "cluster/grafana/qsit.json"
# How Prometheus gets to see a kind of metric, by the suffixes that follow its name.
SUFFIXES = {"Gauge": ("",), "Counter": ("_total",), "Histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def exported():
    """Each metric by its name, as the package makes it."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        usual = metrics.Metric.__init__

        def noted(self, *arguments, **keywords):
            usual(self, *arguments, **keywords)
            made.append(self)

        patch.setattr(metrics.Metric, "__init__", noted)
        ShownCourse("run", "training")
        StepGauges("run", "training")
        SearchGauges("run", "search", 1)
        observer()
    return {each.info["name"]: each for each in made}


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(DASHBOARD.read_text())


def queries(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_no_other_module_makes_a_metric(exported):
    """Or the other tests of this file would not see it."""
    makers = []
    for path in ROOT.glob("qsit_ray/**/*.py"):
        tree = ast.parse(path.read_text())
        found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if {"ray.util.metrics", "qsit_ray.gauge"} & {*found}:
            makers.append(path.relative_to(ROOT).as_posix())
    assert sorted(makers) == [
        "qsit_ray/gauge.py",
        "qsit_ray/search/gauges.py",
        "qsit_ray/service/deployment.py",
        "qsit_ray/train/gauges.py",
    ]


def test_every_metric_is_queried_and_no_other(exported, dashboard):
    names = {f"ray_{name}": SUFFIXES[type(made).__name__] for name, made in exported.items()}
    asked = {name for query in queries(dashboard) for name in re.findall(r"ray_\w+", query)}
    unknown = {
        name
        for name in asked
        if not any(name == metric + end for metric, ends in names.items() for end in ends)
    }
    assert not unknown
    missing = {
        metric for metric, ends in names.items() if not asked & {metric + end for end in ends}
    }
    assert not missing


def test_queries_name_labels_that_their_metrics_have(exported, dashboard):
    tags = {f"ray_{name}": {*made.info["tag_keys"], "le"} for name, made in exported.items()}
    for query in queries(dashboard):
        metric = re.sub(r"_(total|bucket)$", "", re.search(r"ray_\w+", query)[0])
        labels = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
        labels |= set(re.findall(r"[{,](\w+)=~?\"", query))
        assert labels <= tags[metric], query


def test_each_metric_has_a_name_of_ours_a_description_and_its_run(exported):
    for name, made in exported.items():
        assert re.fullmatch(r"qsit_(train|search|service)_[a-z_]+", name)
        assert made.info["description"]
        assert "service" in name or "run" in made.info["tag_keys"]


def test_the_dashboard_is_one_that_grafana_provisions(dashboard):
    """Grafana's file provider wants no id, a uid, and panels with ids and places of their own."""
    assert "id" not in dashboard and dashboard["uid"] == "qsit" and dashboard["title"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {
        "datasource",
        "run",
    }
    for panel in panels:
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
