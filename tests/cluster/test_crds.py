"""The manifests against the fields that KubeRay's CRDs have, unknown ones refused."""

import pytest
from cluster_files import load, manifest, planted
from crd_fields import reduced
from crds import VERSIONS, crd_problems
from jsonschema import Draft202012Validator

DOCUMENTS = {
    "rayjob.yaml": lambda: manifest()[1],
    "raycluster.yaml": lambda: load("cluster/raycluster.yaml"),
    "rayservice.yaml": lambda: load("cluster/rayservice.yaml"),
}
# Of a cluster, by the kind of resource that it is in.
WITHIN = {
    "rayjob.yaml": ["spec", "rayClusterSpec"],
    "raycluster.yaml": ["spec"],
    "rayservice.yaml": ["spec", "rayClusterConfig"],
}
CONTAINER = ["workerGroupSpecs", 0, "template", "spec", "containers", 0]


def test_two_versions_are_known():
    assert VERSIONS == ["1.6.0", "1.7.0"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_crd_takes_the_manifest(name, version):
    assert crd_problems(DOCUMENTS[name](), version) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        (["rayVersio"], "2.60.0", "'rayVersio' was unexpected"),
        (["rayVersion"], 2.6, "rayVersion: 2.6 is not of type 'string'"),
        (["headGroupSpec"], None, "'headGroupSpec' is a required property"),
        (["autoscalerOptions", "version"], "v3", "'v3' is not one of"),
        (["authOptions", "mode"], "on", "'on' is not one of"),
        (["headGroupSpec", "rayStartParams", "num-cpus"], 0, "0 is not of type 'string'"),
        (["workerGroupSpecs", 0, "replica"], 0, "'replica' was unexpected"),
        (["workerGroupSpecs", 0, "maxReplicas"], "4", "'4' is not of type 'integer'"),
        ([*CONTAINER, "resource"], {}, "'resource' was unexpected"),
        ([*CONTAINER, "name"], None, "'name' is a required property"),
        ([*CONTAINER, "volumeMounts", 0, "mountpath"], "/runs", "'mountpath' was unexpected"),
        ([*CONTAINER, "ports"], [{"name": "x"}], "'containerPort' is a required property"),
        (
            ["headGroupSpec", "template", "spec", "volumes", 0, "persistentVolumeClaim"],
            {"claim": "x"},
            "'claim' was unexpected",
        ),
    ],
)
def test_a_mistake_is_named(name, version, path, change, named):
    document = planted(DOCUMENTS[name](), [*WITHIN[name], *path], change)
    problems = crd_problems(document, version)
    assert any(named in problem for problem in problems), problems


def test_a_field_of_the_later_version_is_unknown_to_the_earlier():
    document = planted(load("cluster/raycluster.yaml"), ["spec", *CONTAINER[:2], "priority"], 1)
    assert ["priority" in str(crd_problems(document, each)) for each in VERSIONS] == [True, False]


def test_another_kind_is_none_of_kuberays():
    document = load("cluster/raycluster.yaml") | {"kind": "RayClusters"}
    assert crd_problems(document, VERSIONS[0]) == ["ray.io/v1 RayClusters: none of KubeRay's"]


def test_a_crd_is_reduced_to_names_types_and_choices():
    text = {"type": "string", "description": "left out"}
    inner = {"type": "object", "required": ["mode"], "properties": {"mode": {"enum": ["a"]}}}
    quantity = {"x-kubernetes-int-or-string": True}
    fields = {
        "list": {"type": "array", "items": inner},
        "one": inner,
        "limits": {"type": "object", "additionalProperties": quantity},
        "affinity": {"type": "object", "properties": {"deep": text}},
        "text": text,
    }
    spec = {"type": "object", "properties": fields}
    version = {"name": "v1", "schema": {"openAPIV3Schema": {"properties": {"spec": spec}}}}
    older = version | {"name": "v1alpha1"}
    crd = {"spec": {"names": {"kind": "RayJob"}, "versions": [older, version]}}
    found = reduced([crd])
    assert "left out" not in str(found)
    assert len(found["$defs"]) == 2  # the inner type is there once
    check = Draft202012Validator({**found["kinds"]["RayJob"], "$defs": found["$defs"]})
    right = {"list": [{"mode": "a"}], "limits": {"cpu": "4", "gpu": 1}, "affinity": {"x": 1}}
    assert check.is_valid(right)
    for wrong in ({"text": 1}, {"one": {}}, {"one": {"mode": "b"}}, {"texts": "x"}):
        assert not check.is_valid(right | wrong)
