"""Ray's own autoscaler-v2 scheduler, fed with the cluster files and with what the product asks for.

Demands are made of the objects that the product hands to Tune, Ray Train and Ray's tasks, as Ray
itself reports them to the autoscaler.
"""

import re
from collections import Counter

from cluster_files import load
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import (
    ClusterResourceConstraint,
    GangResourceRequest,
    NodeState,
    NodeStatus,
)
from ray.core.generated.common_pb2 import LabelSelectorOperator
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind
from ray.train._internal.autoscaling_coordinator_client import build_train_resource_request

SELECTOR = re.compile(r"(!?)(?:in\((.*)\)|(.*))")
TOGETHER = ResourceRequestUtil.PlacementConstraintType.AFFINITY


def launcher(name):
    """Node types and bounds of a cluster launcher's file, as the autoscaler reads them."""
    return AutoscalingConfig(prepare_config(load(name)), skip_content_hash=True)


def kubernetes(cluster):
    """The same of the specification of a KubeRay cluster."""
    resource = {"metadata": {"name": "qsit", "namespace": "default"}, "spec": cluster}
    return AutoscalingConfig(_derive_autoscaling_config_from_ray_cr(resource))


def request(resources, labels, constraints=None):
    operators = {
        "": LabelSelectorOperator.LABEL_OPERATOR_IN,
        "!": LabelSelectorOperator.LABEL_OPERATOR_NOT_IN,
    }
    selector = []
    for label, text in (labels or {}).items():
        no, several, one = SELECTOR.fullmatch(text).groups()
        values = re.split(", ?", several) if several else [one]
        selector.append((label, operators[no], values))
    return ResourceRequestUtil.make(resources, constraints, [selector] if selector else None)


def gang(bundles, strategy, labels):
    """A placement group that waits for its nodes."""
    constraint = [(TOGETHER, "_PG_1", "")] if strategy == "STRICT_PACK" else None
    labels = labels or [{}] * len(bundles)
    requests = [request(*each, constraint) for each in zip(bundles, labels, strict=True)]
    return GangResourceRequest(requests=requests)


def of_trials(factory, number):
    """Demands of `number` waiting Tune trials."""
    labels = factory._bound.arguments.get("bundle_label_selector")
    return {"gangs": [gang(factory.bundles, factory.strategy, labels)] * number}


def of_ranks(scaling):
    """Demands of Ray Train: a request of its coordinator, and the ranks' placement group."""
    bundles, labels = build_train_resource_request(scaling, scaling.num_workers)
    each = zip(bundles, labels or [{}] * len(bundles), strict=True)
    asked = ResourceRequestUtil.group_by_count([request(*one) for one in each])
    return {
        "constraints": [ClusterResourceConstraint(resource_requests=asked)],
        "gangs": [gang(bundles, scaling.placement_strategy, labels)],
    }


def of_tasks(options, number):
    """Demands of `number` waiting Ray tasks with these options."""
    resources = {"CPU": options["num_cpus"], "GPU": options.get("num_gpus", 0)}
    used = {name: amount for name, amount in resources.items() if amount}
    one = request(used, options["label_selector"])
    return {"tasks": ResourceRequestUtil.group_by_count([one] * number)}


def launched(config, demands, idle=None, failed=()):
    """Nodes of each type that the autoscaler launches beside the head and the `idle` ones.

    `failed`: types that the cloud has just refused.
    """
    types = config.get_node_type_configs()
    head = config.get_head_node_type()
    nodes = [instance(types[head], "head", NodeKind.HEAD)]
    for name, number in (idle or {}).items():
        nodes += [instance(types[name], f"{name}-{i}") for i in range(number)]
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=types,
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=demands.get("tasks", []),
            gang_resource_requests=demands.get("gangs", []),
            cluster_resource_constraints=demands.get("constraints", []),
            current_instances=nodes,
            recoverable_resource_availabilities=dict.fromkeys(failed, 0.0),
        )
    )
    counts = Counter()
    for launch in reply.to_launch:
        counts[launch.instance_type] += launch.count
    return dict(counts)


def instance(kind, name, node_kind=NodeKind.WORKER):
    """A node on which nothing runs."""
    node = NodeState(
        node_id=name.encode(),
        ray_node_type_name=kind.name,
        available_resources=kind.resources,
        total_resources=kind.resources,
        labels=kind.labels,
        status=NodeStatus.IDLE,
    )
    known = Instance(
        instance_id=name,
        node_id=name,
        cloud_instance_id=name,
        instance_type=kind.name,
        status=Instance.RAY_RUNNING,
        node_kind=node_kind,
    )
    return AutoscalerInstance(cloud_instance_id=name, ray_node=node, im_instance=known)
