"""cluster/rayjob.yaml and raycluster.yaml: what can be checked of them without Kubernetes.

A file must have no problem, and a planted mistake must be named.
"""

import pytest
from cluster_files import PINS, failed, image_problems, label_problems, load, manifest, planted
from crds import VERSIONS, crd_problems


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
    claim, job = documents
    spec = job["spec"]
    found = [problem for version in VERSIONS for problem in crd_problems(job, version)]
    if found:
        return found
    command = spec.get("entrypoint", "")
    right = command.startswith("qsit run ") and "--out /runs/" in command
    modes = claim["spec"]["accessModes"]
    checks = [
        (modes == ["ReadWriteMany"], "claim: several nodes write to it; not ReadWriteMany"),
        (right, "entrypoint: expected `qsit run` with --out under /runs"),
        (spec.get("shutdownAfterJobFinishes") is True, "the cluster would stay after the job"),
    ]
    return failed(checks) + cluster_problems(spec["rayClusterSpec"], claim["metadata"]["name"])


def cluster_problems(cluster, claim):
    """What is wrong with the specification of a cluster whose nodes share the claim."""
    head, groups = cluster["headGroupSpec"], cluster.get("workerGroupSpecs", [])
    params, service = head.get("rayStartParams", {}), head.get("serviceType", "ClusterIP")
    auth = cluster.get("authOptions", {}).get("mode")
    version = cluster.get("autoscalerOptions", {}).get("version")
    checks = [
        (cluster.get("rayVersion") == PINS["ray"], f"rayVersion: not {PINS['ray']}"),
        (cluster.get("enableInTreeAutoscaling") is True, "enableInTreeAutoscaling: off"),
        (version == "v2", "autoscalerOptions.version: not v2, which knows labels"),
        (auth == "token", "authOptions: token authentication is not on"),
        (params.get("num-cpus") == "0", "headGroupSpec: the head has room for tasks"),
        (service == "ClusterIP" and not head.get("enableIngress"), "headGroupSpec: reachable"),
    ]
    problems = failed(checks) + pod_problems("head", head["template"]["spec"], claim)
    workers = {
        group.get("groupName"): (
            group.get("labels", {}),
            int(group.get("rayStartParams", {}).get("num-gpus", 0)),
        )
        for group in groups
    }
    problems += label_problems(workers)
    return problems + [problem for group in groups for problem in group_problems(group, claim)]


def group_problems(group, claim):
    where = group.get("groupName", "a worker group without groupName")
    pod = group["template"]["spec"]
    resources = pod["containers"][0].get("resources", {})
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    params = group.get("rayStartParams", {})
    gpus = limits.get("nvidia.com/gpu", "0")
    same = gpus == requests.get("nvidia.com/gpu", "0") == params.get("num-gpus")
    checks = [
        (group.get("minReplicas") == 0, f"{where}: minReplicas is not 0"),
        (group.get("replicas") == 0, f"{where}: replicas is not 0"),
        (group.get("maxReplicas", 0) > 0, f"{where}: maxReplicas is not above 0"),
        (same, f"{where}: GPU limits, requests and num-gpus differ"),
        (params.get("num-cpus") == limits.get("cpu"), f"{where}: num-cpus is not the CPU limit"),
    ]
    return failed(checks) + pod_problems(where, pod, claim)


def test_the_manifest_has_no_problem():
    assert manifest_problems(manifest()) == []


def test_the_cluster_that_stays_has_no_problem_and_shares_the_jobs_claim():
    cluster, claim = load("cluster/raycluster.yaml")["spec"], manifest()[0]["metadata"]["name"]
    assert cluster_problems(cluster, claim) == []
    assert (
        cluster["workerGroupSpecs"] == manifest()[1]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    )


JOB = [1, "spec"]
CLUSTER = [*JOB, "rayClusterSpec"]
HEAD = [*CLUSTER, "headGroupSpec"]
GPU = [*CLUSTER, "workerGroupSpecs", 1]
POD = ["template", "spec"]
CONTAINER = [*POD, "containers", 0]


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        ([1, "apiVersion"], "ray.io/v1alpha1", "kinds"),
        ([1, "kind"], "RayCluster", "kinds"),
        ([*JOB, "entryPoint"], "qsit", "'entryPoint' was unexpected"),
        ([*JOB, "entrypoint"], "qsit run --out runs/demo", "entrypoint"),
        ([*JOB, "shutdownAfterJobFinishes"], False, "the cluster would stay"),
        ([0, "spec", "accessModes"], ["ReadWriteOnce"], "ReadWriteMany"),
        ([*CLUSTER, "rayVersion"], "2.59.0", "rayVersion"),
        ([*CLUSTER, "enableInTreeAutoscaling"], None, "enableInTreeAutoscaling"),
        ([*CLUSTER, "authOptions", "mode"], "disabled", "token authentication"),
        ([*CLUSTER, "autoscalerOptions", "version"], "v1", "not v2"),
        ([*CLUSTER, "workerGroupSpecs"], None, "no workers labelled qsit: cpu"),
        ([*CLUSTER, "autoscaling"], {}, "'autoscaling' was unexpected"),
        ([*HEAD, "rayStartParams"], {}, "the head has room"),
        ([*HEAD, "serviceType"], "LoadBalancer", "headGroupSpec: reachable"),
        ([*HEAD, *POD, "securityContext"], None, "head: may run as root"),
        ([*HEAD, *CONTAINER, "volumeMounts"], [], "head: /runs"),
        ([*GPU, "minReplica"], 0, "'minReplica' was unexpected"),
        ([*GPU, "minReplicas"], 1, "proxy: minReplicas is not 0"),
        ([*GPU, "maxReplicas"], 0, "proxy: maxReplicas"),
        ([*GPU, "rayStartParams", "num-gpus"], "2", "GPU limits"),
        ([*GPU, *CONTAINER, "resources", "requests", "nvidia.com/gpu"], "2", "GPU limits"),
        ([*GPU, *CONTAINER, "resources", "limits", "nvidia.com/gpu"], None, "GPU limits"),
        ([*GPU, "rayStartParams", "num-cpus"], "16", "num-cpus"),
        ([*GPU, "rayStartParams", "num-gpus"], 1, "1 is not of type 'string'"),
        ([*GPU, *POD, "volumes", 0, "persistentVolumeClaim", "claimName"], "run", "proxy: /runs"),
        ([*GPU, "labels"], None, "no workers labelled qsit: proxy"),
        ([*GPU, *CONTAINER, "image"], "localhost/qsit-ray:0.1.0", "registry host"),
        ([*GPU, *CONTAINER, "image"], "qsit-ray", "no fixed tag"),
    ],
)
def test_a_mistake_in_the_manifest_is_named(path, change, named):
    problems = manifest_problems(planted(manifest(), path, change))
    assert any(named in problem for problem in problems), problems
