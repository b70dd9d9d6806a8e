"""What is wrong with a cluster launcher's file, as far as it can be told without a cloud."""

import copy
import re
import subprocess

import botocore.session
import botocore.validate
from cluster_files import PINS, failed, image_problems, label_problems

# Keys of `provider` in use; Ray's own validation lets everything inside it pass.
PROVIDER = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes"},
    "gcp": {"type", "region", "availability_zone", "project_id", "cache_stopped_nodes"},
}
# Fields of an instance, its disks and its scheduling in Google's Compute Engine interface, v1, that
# a node may be given; Ray sends a node's configuration there as it is.
INSTANCE = {
    *("machineType", "minCpuPlatform", "disks", "scheduling", "metadata", "guestAccelerators"),
    *("networkInterfaces", "serviceAccounts", "tags", "labels", "reservationAffinity"),
    *("shieldedInstanceConfig", "canIpForward", "confidentialInstanceConfig"),
}
DISK = {"boot", "autoDelete", "type", "initializeParams", "deviceName", "mode", "source"}
NEW_DISK = {"diskSizeGb", "diskType", "sourceImage", "labels", "description"}
SCHEDULING = {
    "provisioningModel": {"SPOT", "STANDARD", "FLEX_START", "RESERVATION_BOUND"},
    "instanceTerminationAction": {"STOP", "DELETE"},
    "onHostMaintenance": {"MIGRATE", "TERMINATE"},
    "automaticRestart": {True, False},
    "preemptible": {True, False},
}
GCP_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
MARKET = "ray.io/market-type"
LISTS = [f"{part}_commands" for part in ("initialization", "setup", "head_setup", "worker_setup")]


def launcher_problems(config):
    """[] when nothing is wrong."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:  # jsonschema's, ValueError or AssertionError, by the mistake
        return [f"ray: {error}"]
    if config["provider"]["type"] not in CLOUDS:
        return [f"provider.type: none of {', '.join(CLOUDS)}"]
    docker, mounts = config["docker"], config["file_mounts"]
    start = " ".join(config["head_start_ray_commands"])
    options = " ".join(docker["run_options"])
    setup = " ".join(config["setup_commands"])
    token = re.search(r"RAY_AUTH_TOKEN_PATH=(\S+)", options)
    source = next((path for path, local in mounts.items() if local == "."), None)
    checks = [
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
    checks += [
        (parses(line), f"{where}: no shell command: {line}") for where, line in shell(config)
    ]
    images = image_problems(docker["head_image"]) + image_problems(docker["worker_image"])
    return provider_problems(config["provider"]) + failed(checks) + images + node_problems(config)


def shell(config):
    """(where, line) of every command of a file."""
    for where in [*LISTS, "head_start_ray_commands", "worker_start_ray_commands"]:
        yield from ((where, line) for line in config.get(where, []))
    for name, kind in config["available_node_types"].items():
        yield from ((name, line) for line in kind.get("initialization_commands", []))


def parses(line):
    return not subprocess.run(["bash", "-n", "-c", line], capture_output=True).returncode


def provider_problems(provider):
    cloud, region = provider["type"], provider.get("region") or ""
    checks = [(key in PROVIDER[cloud], f"provider.{key}: unknown") for key in provider]
    if cloud == "aws":
        regions = botocore.session.get_session().get_available_regions("ec2")
        checks.append((region in regions, f"provider.region: {region!r} is no region of AWS"))
    else:
        zone = provider.get("availability_zone") or ""
        checks += [
            (GCP_REGION.fullmatch(region), f"provider.region: {region!r} is no region's name"),
            (
                re.fullmatch(re.escape(region) + "-[a-z]", zone),
                f"provider.availability_zone: {zone!r} is no zone of the region {region!r}",
            ),
            (provider.get("project_id"), "provider.project_id: missing"),
        ]
    return failed(checks)


def node_problems(config):
    cloud = config["provider"]["type"]
    checks, problems = [], []
    for name, kind in config["available_node_types"].items():
        resources, head = kind.get("resources", {}), name == config["head_node_type"]
        stated = {"CPU", "GPU"} <= resources.keys()
        checks.append((stated, f"{name}: CPU and GPU are not both stated"))
        spot, found = CLOUDS[cloud](kind["node_config"], resources.get("GPU", 0) > 0)
        problems += [f"{name}: {problem}" for problem in found]
        if head:
            room = resources.get("CPU", 1) or resources.get("GPU", 1)
            checks.append((not room, f"{name}: the head has room for tasks"))
            checks.append((not spot, f"{name}: the head is a spot machine"))
            continue
        most, labels = kind.get("max_workers", 0), kind.get("labels", {})
        image = kind.get("docker", {}).get("worker_image", config["docker"]["worker_image"])
        market = "spot" if spot else "on-demand"
        checks += [
            (kind.get("min_workers") == 0, f"{name}: min_workers is not 0"),
            (0 < most <= config["max_workers"], f"{name}: max_workers not within the cluster's"),
            (f":{PINS['ray']}-py311" in image, f"{name}: its image is not Ray {PINS['ray']}"),
            (labels.get(MARKET) == market, f"{name}: not labelled {MARKET}: {market}"),
            (not spot or labels.get("qsit") == "proxy", f"{name}: a spot machine, but no proxy"),
            (not spot or kind.get("priority", 0) > 0, f"{name}: spot, but not preferred"),
        ]
    workers = {
        name: (kind.get("labels", {}), kind.get("resources", {}).get("GPU", 0))
        for name, kind in config["available_node_types"].items()
        if name != config["head_node_type"]
    }
    return failed(checks) + problems + label_problems(workers)


def of_aws(node, _):
    """Whether a node is a spot machine, and what EC2's RunInstances does not take of it."""
    service = botocore.session.get_session().get_service_model("ec2")
    shape = service.operation_model("RunInstances").input_shape
    # As Ray adds them.
    whole = {**node, "MinCount": 1, "MaxCount": 1}
    report = botocore.validate.ParamValidator().validate(whole, shape)
    problems = report.generate_report().splitlines()
    types = service.shape_for("InstanceType").enum
    checks = [
        (node.get("ImageId"), "no ImageId; Ray's default is too old"),
        (node.get("InstanceType") in types, f"InstanceType {node.get('InstanceType')!r}: unknown"),
    ]
    market = node.get("InstanceMarketOptions", {}).get("MarketType")
    checks.append((market in {None, "spot"}, f"MarketType {market!r} is not spot"))
    return market == "spot", problems + failed(checks)


def of_gcp(node, has_gpu):
    """Whether a node is a spot machine, and what Compute Engine does not take of it."""
    scheduling, disks = node.get("scheduling", {}), node.get("disks", [])
    spot = scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True
    checks = [(key in INSTANCE, f"node_config.{key}: unknown") for key in node]
    checks += [(key in DISK, f"disks.{key}: unknown") for disk in disks for key in disk]
    made = [disk.get("initializeParams", {}) for disk in disks]
    checks += [(key in NEW_DISK, f"initializeParams.{key}: unknown") for new in made for key in new]
    for key, value in scheduling.items():
        right = value in SCHEDULING.get(key, set())
        checks.append((right, f"scheduling.{key}: {value!r} is unknown"))
    stays = scheduling.get("onHostMaintenance") == "TERMINATE"
    deleted = scheduling.get("instanceTerminationAction") == "DELETE"
    restarted = scheduling.get("automaticRestart", True)
    checks += [
        (node.get("machineType"), "no machineType"),
        (any(new.get("sourceImage") for new in made), "no sourceImage of a boot disk"),
        (all(disk.get("autoDelete") for disk in disks), "a disk would outlive its machine"),
        (stays or not has_gpu, "GPUs, but onHostMaintenance is not TERMINATE"),
        (deleted or not spot, "spot, but stopped rather than deleted"),
        (not (spot and restarted), "spot, which can't be restarted: automaticRestart is on"),
    ]
    return spot, failed(checks)


CLOUDS = {"aws": of_aws, "gcp": of_gcp}
