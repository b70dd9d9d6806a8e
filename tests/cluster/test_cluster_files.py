"""cluster.yaml and cluster/: what can be checked of them without a cloud or a cluster.

Each check is a function from a file's content to its problems. The files must have none, and a
planted mistake must be named.
"""

import copy
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "cluster.yaml", *sorted(p for p in (ROOT / "cluster").rglob("*") if p.is_file())]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
)
# Fields of the CRDs in use here, so that a misspelt one is seen before an operator drops it.
JOB_FIELDS = {
    *("entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
    *("backoffLimit", "rayClusterSpec", "activeDeadlineSeconds", "runtimeEnvYAML"),
    *("submitterPodTemplate", "submitterConfig", "entrypointNumCpus", "entrypointNumGpus"),
    *("entrypointResources", "suspend", "deletionStrategy", "clusterSelector", "metadata"),
}
CLUSTER_FIELDS = {
    *("rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions"),
    *("headGroupSpec", "workerGroupSpecs", "gcsFaultToleranceOptions", "suspend"),
}
WORKER_FIELDS = {
    *("groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts"),
    *("rayStartParams", "template", "idleTimeoutSeconds"),
}
HEAD_FIELDS = {"rayStartParams", "template", "serviceType", "headService", "enableIngress"}
SECRETS = {
    "AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}\b",
    "account id": r"(?<![\w.-])\d{12}(?![\w.-])",
    "secret's value": r"(?i)(?<![\w/])\w*(access_key|password|token)['\"]?\s*[:=]\s*\S",
}


def load(name):
    return yaml.safe_load((ROOT / name).read_text())


def manifest():
    return list(yaml.safe_load_all((ROOT / "cluster/rayjob.yaml").read_text()))


def failed(checks):
    """The messages of the checks (holds, message) that do not hold."""
    return [message for holds, message in checks if not holds]


def image_problems(image):
    first, slash, _ = image.partition("/")
    host = slash and ("." in first or ":" in first or first == "localhost")
    tag = image.rpartition("/")[2].partition(":")[2]
    return failed(
        [
            (not host, f"{image}: names a registry host"),
            (tag not in {"", "latest", "nightly"}, f"{image}: no fixed tag"),
        ]
    )


def secret_problems(text):
    return [f"{what} in the text" for what, pattern in SECRETS.items() if re.search(pattern, text)]


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
        checks += [
            (kind.get("min_workers") == 0, f"{name}: min_workers is not 0"),
            (0 < most <= config["max_workers"], f"{name}: max_workers not within the cluster's"),
            (resources.get("GPU"), f"{name}: a worker without a GPU"),
        ]
    return failed(checks)


def pod_problems(where, pod, claim):
    context = pod.get("securityContext", {})
    claims = {
        volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName")
        for volume in pod.get("volumes", [])
    }
    container = pod["containers"][0]
    mounts = {m["mountPath"]: claims.get(m["name"]) for m in container.get("volumeMounts", [])}
    resources = container.get("resources", {})
    limits = resources.get("limits", {})
    same = limits == resources.get("requests") and {"cpu", "memory"} <= limits.keys()
    user = context.get("runAsNonRoot") and context.get("runAsUser")
    checks = [
        (user, f"{where}: may run as root"),
        (pod.get("restartPolicy") == "Never", f"{where}: restartPolicy is not Never"),
        (mounts.get("/runs") == claim, f"{where}: /runs is not the claim {claim}"),
        (same, f"{where}: requests and limits are not the same"),
    ]
    return failed(checks) + image_problems(container["image"])


def manifest_problems(documents):
    """What is wrong with the KubeRay manifest; [] when nothing is."""
    kinds = [(d.get("apiVersion"), d.get("kind")) for d in documents]
    expected = [("v1", "PersistentVolumeClaim"), ("ray.io/v1", "RayJob")]
    if kinds != expected:
        return [f"kinds: expected {expected}, got {kinds}"]
    claim, spec = documents[0], documents[1]["spec"]
    cluster = spec.get("rayClusterSpec", {})
    missing = {"headGroupSpec", "workerGroupSpecs"} - cluster.keys()
    if missing:
        return [f"rayClusterSpec: no {', '.join(sorted(missing))}"]
    head, groups = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    params, service = head.get("rayStartParams", {}), head.get("serviceType", "ClusterIP")
    command = spec.get("entrypoint", "")
    right = command.startswith("qsit run ") and "--out /runs/" in command
    auth = cluster.get("authOptions", {}).get("mode")
    modes = claim["spec"]["accessModes"]
    checks = [(key in JOB_FIELDS, f"spec.{key}: unknown") for key in spec]
    checks += [(key in CLUSTER_FIELDS, f"rayClusterSpec.{key}: unknown") for key in cluster]
    checks += [(key in HEAD_FIELDS, f"headGroupSpec.{key}: unknown") for key in head]
    checks += [
        (modes == ["ReadWriteMany"], "claim: several nodes write to it; not ReadWriteMany"),
        (right, "entrypoint: expected `qsit run` with --out under /runs"),
        (spec.get("shutdownAfterJobFinishes") is True, "the cluster would stay after the job"),
        (cluster.get("rayVersion") == PINS["ray"], f"rayVersion: not {PINS['ray']}"),
        (cluster.get("enableInTreeAutoscaling") is True, "enableInTreeAutoscaling: off"),
        (auth == "token", "authOptions: token authentication is not on"),
        (params.get("num-cpus") == "0", "headGroupSpec: the head has room for tasks"),
        (service == "ClusterIP" and not head.get("enableIngress"), "headGroupSpec: reachable"),
    ]
    name = claim["metadata"]["name"]
    problems = failed(checks) + pod_problems("head", head["template"]["spec"], name)
    return problems + [problem for group in groups for problem in group_problems(group, name)]


def group_problems(group, claim):
    where = group.get("groupName", "a worker group without groupName")
    pod = group["template"]["spec"]
    resources = pod["containers"][0].get("resources", {})
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    params = group.get("rayStartParams", {})
    gpus = limits.get("nvidia.com/gpu", "none")
    same = gpus.isdigit() and gpus == requests.get("nvidia.com/gpu") == params.get("num-gpus")
    text = all(isinstance(value, str) for value in params.values())
    checks = [(key in WORKER_FIELDS, f"{where}.{key}: unknown") for key in group]
    checks += [
        (group.get("minReplicas") == 0, f"{where}: minReplicas is not 0"),
        (group.get("replicas") == 0, f"{where}: replicas is not 0"),
        (group.get("maxReplicas", 0) > 0, f"{where}: maxReplicas is not above 0"),
        (same, f"{where}: GPU limits, requests and num-gpus differ"),
        (params.get("num-cpus") == limits.get("cpu"), f"{where}: num-cpus is not the CPU limit"),
        (text, f"{where}: rayStartParams takes strings only"),
    ]
    return failed(checks) + pod_problems(where, pod, claim)


def planted(value, path, change):
    """A copy of `value` in which the item at `path` is `change`, or gone when that is None."""
    value = copy.deepcopy(value)
    target = value
    for key in path[:-1]:
        target = target[key]
    if change is None:
        del target[path[-1]]
    else:
        target[path[-1]] = change
    return value


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
        ([TYPES, "proxy", "resources", "GPU"], 0, "proxy: a worker without a GPU"),
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


def test_the_manifest_has_no_problem():
    assert manifest_problems(manifest()) == []


JOB = [1, "spec"]
CLUSTER = [*JOB, "rayClusterSpec"]
HEAD = [*CLUSTER, "headGroupSpec"]
GPU = [*CLUSTER, "workerGroupSpecs", 0]
POD = ["template", "spec"]
CONTAINER = [*POD, "containers", 0]


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        ([1, "apiVersion"], "ray.io/v1alpha1", "kinds"),
        ([1, "kind"], "RayCluster", "kinds"),
        ([*JOB, "entryPoint"], "qsit", "spec.entryPoint: unknown"),
        ([*JOB, "entrypoint"], "qsit run --out runs/demo", "entrypoint"),
        ([*JOB, "shutdownAfterJobFinishes"], False, "the cluster would stay"),
        ([0, "spec", "accessModes"], ["ReadWriteOnce"], "ReadWriteMany"),
        ([*CLUSTER, "rayVersion"], "2.59.0", "rayVersion"),
        ([*CLUSTER, "enableInTreeAutoscaling"], None, "enableInTreeAutoscaling"),
        ([*CLUSTER, "authOptions", "mode"], "disabled", "token authentication"),
        ([*CLUSTER, "workerGroupSpecs"], None, "no workerGroupSpecs"),
        ([*CLUSTER, "autoscaling"], {}, "rayClusterSpec.autoscaling: unknown"),
        ([*HEAD, "rayStartParams"], {}, "the head has room"),
        ([*HEAD, "serviceType"], "LoadBalancer", "headGroupSpec: reachable"),
        ([*HEAD, *POD, "securityContext"], None, "head: may run as root"),
        ([*HEAD, *CONTAINER, "volumeMounts"], [], "head: /runs"),
        ([*GPU, "minReplica"], 0, "gpu.minReplica: unknown"),
        ([*GPU, "minReplicas"], 1, "gpu: minReplicas is not 0"),
        ([*GPU, "maxReplicas"], None, "gpu: maxReplicas"),
        ([*GPU, "rayStartParams", "num-gpus"], "2", "GPU limits"),
        ([*GPU, *CONTAINER, "resources", "requests", "nvidia.com/gpu"], "2", "GPU limits"),
        ([*GPU, *CONTAINER, "resources", "limits", "nvidia.com/gpu"], None, "GPU limits"),
        ([*GPU, "rayStartParams", "num-cpus"], "16", "num-cpus"),
        ([*GPU, "rayStartParams", "num-gpus"], 1, "strings only"),
        ([*GPU, *POD, "volumes", 0, "persistentVolumeClaim", "claimName"], "run", "gpu: /runs"),
        ([*GPU, *CONTAINER, "image"], "localhost/qsit-ray:0.1.0", "registry host"),
        ([*GPU, *CONTAINER, "image"], "qsit-ray", "no fixed tag"),
    ],
)
def test_a_mistake_in_the_manifest_is_named(path, change, named):
    problems = manifest_problems(planted(manifest(), path, change))
    assert any(named in problem for problem in problems), problems


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path):
    assert secret_problems(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "KeyName: AKIA" + "Q7" * 8,
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "token: hf_" + "a1" * 12,
        "arn:aws:iam::" + "1234" * 3 + ":role/x",
        "RAY_AUTH_TOKEN" + ": abc",
    ],
)
def test_a_secret_is_seen(text):
    assert secret_problems(text)


def test_the_image_has_the_pinned_ray_and_is_not_roots():
    lines = (ROOT / "cluster/Dockerfile").read_text().splitlines()
    assert f"ARG RAY_VERSION={PINS['ray']}" in lines
    assert "FROM rayproject/ray:${RAY_VERSION}-py311${VARIANT}" in lines
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER ray"
    copied = {part for line in lines if line.startswith("COPY") for part in line.split()[2:-1]}
    assert [name for name in copied if not (ROOT / name).exists()] == []


def checkout(tmp_path, **programs):
    """A tree with submit.sh and with shell scripts as its .venv's programs."""
    for folder in ("cluster", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "cluster/submit.sh", tmp_path / "cluster")
    for name, text in programs.items():
        (tmp_path / ".venv/bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    return tmp_path / "cluster/submit.sh"


def submit(script, *arguments, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [script, *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--out", "/runs/x"], {}, "RAY_ADDRESS is not set"),
        ([], {"RAY_ADDRESS": "http://127.0.0.1:1"}, "no arguments"),
    ],
)
def test_submit_says_what_is_missing(tmp_path, arguments, environment, named):
    done = submit(checkout(tmp_path, ray="echo called"), *arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_submit_passes_its_arguments_through(tmp_path):
    script = checkout(tmp_path, ray='echo "$RAY_AUTH_MODE"; printf "%s\\n" "$@"; exit 3')
    done = submit(script, "--set", "a.b=c d", RAY_ADDRESS="http://127.0.0.1:1")
    expected = ["token", "job", "submit", "--working-dir", str(tmp_path), "--"]
    assert done.stdout.splitlines() == [*expected, "qsit", "run", "--set", "a.b=c d"]
    assert done.returncode == 3


@pytest.mark.slow
def test_a_job_reaches_a_head_without_cpus_and_only_with_the_token(tmp_path):
    """A real head, started as cluster.yaml does, and a stand-in for `qsit` on its PATH."""
    ray = Path(sys.executable).parent / "ray"
    script = checkout(tmp_path / "tree", ray=f'exec "{ray}" "$@"')
    (tmp_path / "tree/marker.txt").write_text("shipped")
    programs = tmp_path / "programs"
    programs.mkdir()
    # The shipped tree must come first on the path, or an installed package would be run instead.
    # Into a file: what a short job prints last doesn't always reach the submitter.
    seen = tmp_path / "seen"
    (programs / "qsit").write_text(
        '#!/bin/sh\n{ case "$PYTHONPATH" in "$PWD"|"$PWD:"*) cat marker.txt;; esac\n'
        f"""printf ' <%s>' "$@"; }} > '{seen}'\n"""
    )
    (programs / "qsit").chmod(0o755)
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PATH": f"{programs}:{ray.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_OVERRIDE_RESOURCES": '{"CPU": 0, "GPU": 0}',
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # Ray's sockets lie below its temporary folder, and their paths must be short.
    folder = tempfile.mkdtemp(prefix="qsit")
    start = ["start", "--head", "--block", "--port=0", "--num-cpus=0", "--num-gpus=0"]
    start += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", f"--temp-dir={folder}"]
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            [ray, *start], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        known = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ADDRESS": address}
        while True:
            done = submit(script, "--out", "/runs/a b", **known)
            if done.returncode == 0 or time.monotonic() > deadline:
                break
            time.sleep(1)
        assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "head.log").read_text()
        assert seen.read_text() == "shipped <run> <--out> </runs/a b>"
        seen.unlink()

        wrong = tmp_path / "wrong"
        wrong.write_text(secrets.token_hex(32))
        refused = submit(script, "--out", "/runs/x", **known | {"RAY_AUTH_TOKEN_PATH": str(wrong)})
        assert refused.returncode != 0
        assert not seen.exists()
        assert "token" in refused.stderr.lower()
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)
