"""cluster.yaml: what can be checked of it without a cloud.

The file must have no problem, and a planted mistake must be named.
"""

import copy
import re

import pytest
from cluster_files import PINS, failed, image_problems, label_problems, load, planted


def launcher_problems(config):
    """What is wrong with a cluster launcher file; [] when nothing is."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:  # jsonschema's, ValueError or AssertionError, by the mistake
        return [f"ray: {error}"]
    provider, docker = config["provider"], config["docker"]
    mounts = config["file_mounts"]
    start = " ".join(config["head_start_ray_commands"])
    options = " ".join(docker["run_options"])
    setup = " ".join(config["setup_commands"])
    token = re.search(r"RAY_AUTH_TOKEN_PATH=(\S+)", options)
    source = next((path for path, local in mounts.items() if local == "."), None)
    known = {"type", "region", "availability_zone", "cache_stopped_nodes"}
    # Ray's own validation lets everything inside `provider` pass.
    checks = [(key in known, f"provider.{key}: unknown") for key in provider]
    checks += [
        (provider["type"] == "aws" and provider.get("region"), "provider: not aws with a region"),
        (config.get("idle_timeout_minutes", 0) > 0, "idle_timeout_minutes: workers would stay"),
        ("RAY_AUTH_MODE=token" in options, "docker.run_options: token authentication is not on"),
        (token and token[1] in mounts, "file_mounts: the token's file is not mounted"),
        ("-v /runs:/runs" in options, "docker.run_options: the run folder is not mounted"),
        (f"-c {source}/constraints.txt {source}" in setup, "setup_commands: no constraints.txt"),
        ("[" not in setup, "setup_commands: an extra is on"),
        (docker["worker_image"].endswith("-gpu"), "docker.worker_image: no GPU image"),
    ]
    for option in ("--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"):
        checks.append((option in start, f"head_start_ray_commands: no {option}"))
    for key in ("head_image", "worker_image"):
        right = f":{PINS['ray']}-py311" in docker[key]
        checks.append((right, f"docker.{key}: not Ray {PINS['ray']} on Python 3.11"))
    images = image_problems(docker["head_image"]) + image_problems(docker["worker_image"])
    return failed(checks) + images + node_type_problems(config)


def node_type_problems(config):
    checks = []
    for name, kind in config["available_node_types"].items():
        resources = kind.get("resources", {})
        checks += [
            ({"CPU", "GPU"} <= resources.keys(), f"{name}: CPU and GPU are not both stated"),
            (kind["node_config"].get("ImageId"), f"{name}: no ImageId; Ray's default is too old"),
        ]
        if name == config["head_node_type"]:
            room = resources.get("CPU", 1) or resources.get("GPU", 1)
            checks.append((not room, f"{name}: the head has room for tasks"))
            continue
        most = kind.get("max_workers", 0)
        image = kind.get("docker", {}).get("worker_image", config["docker"]["worker_image"])
        checks += [
            (kind.get("min_workers") == 0, f"{name}: min_workers is not 0"),
            (0 < most <= config["max_workers"], f"{name}: max_workers not within the cluster's"),
            (f":{PINS['ray']}-py311" in image, f"{name}: its image is not Ray {PINS['ray']}"),
        ]
    workers = {
        name: (kind.get("labels", {}), kind.get("resources", {}).get("GPU", 0))
        for name, kind in config["available_node_types"].items()
        if name != config["head_node_type"]
    }
    return failed(checks) + label_problems(workers)


def test_the_launcher_file_has_no_problem():
    assert launcher_problems(load("cluster.yaml")) == []


TYPES = "available_node_types"


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        (["idle_timeout_minuts"], 5, "ray: "),
        ([TYPES, "proxy", "max_worker"], 3, "ray: "),
        (["head_node_type"], "leader", "ray: "),
        (["provider", "regoin"], "us-west-2", "provider.regoin: unknown"),
        (["provider", "region"], None, "not aws with a region"),
        ([TYPES, "proxy", "resources"], {"GPU": 1}, "proxy: CPU and GPU"),
        ([TYPES, "primary", "resources"], {}, "primary: CPU and GPU"),
        ([TYPES, "proxy", "resources", "GPU"], 0, "proxy: 0 GPUs do not suit"),
        ([TYPES, "cpu", "docker", "worker_image"], "rayproject/ray:2.59.0", "cpu: its image"),
        ([TYPES, "cpu", "labels"], None, "no workers labelled qsit: cpu"),
        ([TYPES, "primary", "labels"], {"qsit": "proxy"}, "no workers labelled qsit: primary"),
        ([TYPES, "proxy", "min_workers"], 1, "proxy: min_workers"),
        ([TYPES, "proxy", "max_workers"], 0, "proxy: max_workers"),
        ([TYPES, "proxy", "node_config", "ImageId"], None, "proxy: no ImageId"),
        ([TYPES, "head", "resources", "CPU"], 4, "head: the head has room"),
        (["idle_timeout_minutes"], 0, "idle_timeout_minutes"),
        (["head_start_ray_commands", 1], "ray start --head --num-cpus=0", "--dashboard-host"),
        (["docker", "run_options", 2], "-e RAY_AUTH_MODE=disabled", "token authentication"),
        (["docker", "run_options", 1], "-v /tmp:/runs", "run folder is not mounted"),
        (["file_mounts", "/home/ray/ray_auth_token"], None, "the token's file"),
        (["setup_commands", 0], "pip install /home/ray/qsit_ray", "constraints.txt"),
        (["docker", "head_image"], "ghcr.io/ray:2.60.0-py311", "registry host"),
        (["docker", "head_image"], "rayproject/ray:latest", "no fixed tag"),
        (["docker", "worker_image"], "rayproject/ray:2.59.0-py311-gpu", "not Ray"),
    ],
)
def test_a_mistake_in_the_launcher_file_is_named(path, change, named):
    problems = launcher_problems(planted(load("cluster.yaml"), path, change))
    assert any(named in problem for problem in problems), problems
