"""cluster/rayservice.yaml: what can be checked of it without Kubernetes."""

import importlib

import pytest
import yaml
from cluster_files import image_problems, load
from ray.serve.schema import ServeDeploySchema

from qsit_ray.service.deployment import TOKEN, Service


@pytest.fixture(scope="module")
def spec():
    document = load("cluster/rayservice.yaml")
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayService")
    return document["spec"]


@pytest.fixture(scope="module")
def serving(spec):
    return ServeDeploySchema.model_validate(yaml.safe_load(spec["serveConfigV2"]))


def pods(spec):
    cluster = spec["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_serve_takes_its_configuration_and_builds_the_application(serving, monkeypatch):
    (application,) = serving.applications
    module, _, name = application.import_path.partition(":")
    service = Service.model_validate(application.args)
    monkeypatch.setenv(TOKEN, "planted")
    built = getattr(importlib.import_module(module), name)(service)
    names = {"Door", "Model"}
    assert {deployment.name for deployment in application.deployments} == names
    assert built._bound_deployment.name in names


def test_a_replica_fits_a_worker(spec, serving):
    args = Service.model_validate(serving.applications[0].args)
    (group,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert limits == container["resources"]["requests"]
    assert float(group["rayStartParams"]["num-cpus"]) == float(limits["cpu"]) >= args.cpus
    assert float(group["rayStartParams"]["num-gpus"]) == float(limits["nvidia.com/gpu"])
    assert float(limits["nvidia.com/gpu"]) >= args.gpus > 0
    most = serving.applications[0].deployments[1].autoscaling_config["max_replicas"]
    assert most * args.gpus <= group["maxReplicas"] * float(limits["nvidia.com/gpu"])


def test_every_pod_has_the_token_from_a_secret_and_reads_the_model(spec):
    for pod in pods(spec):
        (container,) = pod["containers"]
        (variable,) = container["env"]
        assert variable["name"] == TOKEN
        assert "value" not in variable
        assert variable["valueFrom"]["secretKeyRef"]["key"] == "bearer"
        (mount,) = container["volumeMounts"]
        assert mount["mountPath"] == "/runs"
        assert mount["readOnly"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert image_problems(container["image"]) == []


def test_the_token_goes_no_further_than_the_builder(monkeypatch):
    from qsit_ray.service.deployment import build

    monkeypatch.setenv(TOKEN, "planted-secret")
    bound = build(Service(model="m"))._bound_deployment
    assert "planted-secret" not in repr((bound.init_args, bound.init_kwargs))
