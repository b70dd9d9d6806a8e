"""cluster.yaml and cluster/gcp.yaml: what can be checked of them without a cloud.

A file must have no problem, and a planted mistake must be named.
"""

import pytest
from cluster_files import load, planted
from launcher_files import launcher_problems

AWS, GCP = "cluster.yaml", "cluster/gcp.yaml"


@pytest.mark.parametrize("name", [AWS, GCP])
def test_the_launcher_file_has_no_problem(name):
    assert launcher_problems(load(name)) == []


TYPES = "available_node_types"
OF_BOTH = [
    (["idle_timeout_minuts"], 5, "ray: "),
    ([TYPES, "proxy", "max_worker"], 3, "ray: "),
    (["head_node_type"], "leader", "ray: "),
    (["provider", "regoin"], "us-west-2", "provider.regoin: unknown"),
    (["provider", "type"], "azure", "provider.type: none of aws, gcp"),
    ([TYPES, "proxy", "resources"], {"GPU": 1}, "proxy: CPU and GPU"),
    ([TYPES, "primary", "resources"], {}, "primary: CPU and GPU"),
    ([TYPES, "proxy", "resources", "GPU"], 0, "proxy: 0 GPUs do not suit"),
    ([TYPES, "cpu", "docker", "worker_image"], "rayproject/ray:2.59.0", "cpu: its image"),
    ([TYPES, "cpu", "labels"], None, "no workers labelled qsit: cpu"),
    ([TYPES, "primary", "labels"], {"qsit": "proxy"}, "no workers labelled qsit: primary"),
    ([TYPES, "proxy", "labels", "ray.io/market-type"], None, "proxy: not labelled"),
    ([TYPES, "primary", "labels", "ray.io/market-type"], "spot", "primary: not labelled"),
    ([TYPES, "proxy", "priority"], 0, "proxy: spot, but not preferred"),
    ([TYPES, "proxy", "min_workers"], 1, "proxy: min_workers"),
    ([TYPES, "proxy", "max_workers"], 0, "proxy: max_workers"),
    ([TYPES, "head", "resources", "CPU"], 4, "head: the head has room"),
    (["idle_timeout_minutes"], 0, "idle_timeout_minutes"),
    (["head_start_ray_commands", 1], "ray start --head --num-cpus=0", "--dashboard-host"),
    (["docker", "run_options", 2], "-e RAY_AUTH_MODE=disabled", "token authentication"),
    (["docker", "run_options", 1], "-v /tmp:/runs", "run folder is not mounted"),
    (["file_mounts", "/home/ray/ray_auth_token"], None, "the token's file"),
    (["setup_commands", 0], "pip install /home/ray/qsit_ray", "constraints.txt"),
    (["initialization_commands", 1], "sudo mkdir 'p /runs", "no shell command"),
    (["docker", "head_image"], "ghcr.io/ray:2.60.0-py311", "registry host"),
    (["docker", "head_image"], "rayproject/ray:latest", "no fixed tag"),
    (["docker", "worker_image"], "rayproject/ray:2.59.0-py311-gpu", "not Ray"),
]
SPOT = {"MarketType": "spot"}
OF_AWS = [
    (["provider", "region"], None, "no region of AWS"),
    (["provider", "region"], "us-west-22", "'us-west-22' is no region of AWS"),
    ([TYPES, "proxy", "node_config", "ImageId"], None, "proxy: no ImageId"),
    (
        [TYPES, "proxy", "node_config", "InstanceTyp"],
        "x",
        'Unknown parameter in input: "InstanceTyp"',
    ),
    ([TYPES, "proxy", "node_config", "InstanceType"], "g6e.3xlarge", "'g6e.3xlarge': unknown"),
    ([TYPES, "cpu", "node_config", "BlockDeviceMappings", 0, "Ebs"], {"Size": 1}, '"Size"'),
    ([TYPES, "proxy", "node_config", "InstanceMarketOptions"], {"MarketTyp": "spot"}, "MarketTyp"),
    ([TYPES, "proxy", "node_config", "InstanceMarketOptions"], None, "market-type: on-demand"),
    ([TYPES, "primary", "node_config", "InstanceMarketOptions"], SPOT, "primary: a spot machine"),
    ([TYPES, "head", "node_config", "InstanceMarketOptions"], SPOT, "head: the head is a spot"),
]
SCHEDULING = [TYPES, "proxy", "node_config", "scheduling"]
DISK = [TYPES, "cpu", "node_config", "disks", 0]
OF_GCP = [
    (["provider", "region"], "us-central", "'us-central' is no region's name"),
    (["provider", "availability_zone"], "us-west1-a", "no zone of the region 'us-central1'"),
    (["provider", "availability_zone"], None, "no zone of the region"),
    (["provider", "project_id"], None, "provider.project_id: missing"),
    ([TYPES, "cpu", "node_config", "machinType"], "x", "node_config.machinType: unknown"),
    ([*DISK, "autodelete"], True, "disks.autodelete: unknown"),
    ([*DISK, "autoDelete"], False, "cpu: a disk would outlive"),
    ([*DISK, "initializeParams", "diskSizeGB"], 1, "initializeParams.diskSizeGB: unknown"),
    ([*DISK, "initializeParams", "sourceImage"], None, "cpu: no sourceImage"),
    (SCHEDULING, {"onHostMaintenance": "TERMINATE"}, "market-type: on-demand"),
    ([*SCHEDULING, "provisioningModel"], "SPOTS", "scheduling.provisioningModel: 'SPOTS'"),
    ([*SCHEDULING, "onHostMaintenance"], "MIGRATE", "proxy: GPUs, but onHostMaintenance"),
    ([*SCHEDULING, "instanceTerminationAction"], None, "proxy: spot, but stopped"),
    ([*SCHEDULING, "automaticRestart"], None, "can't be restarted"),
    (
        [TYPES, "primary", "node_config", "scheduling", "preemptible"],
        True,
        "primary: a spot machine",
    ),
]


@pytest.mark.parametrize(
    ("name", "path", "change", "named"),
    [(name, *each) for name in (AWS, GCP) for each in OF_BOTH]
    + [(AWS, *each) for each in OF_AWS]
    + [(GCP, *each) for each in OF_GCP],
)
def test_a_mistake_in_the_launcher_file_is_named(name, path, change, named):
    problems = launcher_problems(planted(load(name), path, change))
    assert any(named in problem for problem in problems), problems
