"""rim: what this job waits for on a cluster, as Ray's own state tells it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qsit_ray.placement import Request
from qsit_ray.waiting import TASKS, Demand, HeadLost, Patience, Resources, Silence, Starved

LOOK_SECONDS = 5.0
ANSWER_SECONDS = 5.0
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's setting of how long a process goes on without the head, and its default."""
RECONNECT_SECONDS = 60.0
SHOWN = ("CPU", "GPU")
WAITING_GROUPS = ("PENDING", "RESCHEDULING", "PREPARED")
WAITING_ACTORS = ("PENDING_CREATION", "RESTARTING")
# As many as Ray's state lists at most. It drops tasks of a long job, and would raise for that.
LISTED: dict[str, Any] = {"limit": 10_000, "detail": True, "raise_on_missing_output": False}
CONTROLLER = "TrainController"
"""The class of Ray Train's actor that starts the ranks."""
SOME = 100
"""Tasks that are looked at, to know whether there are any."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Cluster:
    """Nodes, and what the autoscaler says."""

    resources: Resources
    nodes: Sequence[tuple[Mapping[str, float], Mapping[str, str]]]
    """Resources and labels of each node."""
    asked: Sequence[Mapping[str, float]]
    """Resources of the tasks and actors that nodes have no room for now, of all jobs."""
    refused: frozenset[str]
    """Placement groups that the autoscaler has no node for."""

    def demand(self, request: Request, waiting: int, held: int, refused: bool) -> Demand:
        needed = request.bundles if request.one_node else 1
        fitting = sum(request.fits(*node) >= needed for node in self.nodes)
        return Demand(request.what, request.asks, waiting, held, fitting, refused)


def grows() -> bool:
    """Whether an autoscaler tells the cluster what it does."""
    return _cluster().resources.autoscaler


def look(named: Sequence[Request]) -> tuple[list[Demand], Resources]:
    """What this job asks for, by the names of `named`, and what the cluster has.

    Needs a Ray session with a dashboard.
    """
    cluster = _cluster()
    groups = list(_groups(cluster, named))
    unsized = _unsized(cluster, named, groups)
    return [*groups, *unsized, *_actors(cluster, named), *_tasks(cluster)], cluster.resources


def _cluster() -> _Cluster:
    import ray
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply, NodeStatus

    reply = GetClusterStatusReply()
    gcs = GcsClient(ray.get_runtime_context().gcs_address)
    reply.ParseFromString(gcs.get_cluster_status())
    states = reply.cluster_resource_state.node_states
    alive = [node for node in states if node.status != NodeStatus.Value("DEAD")]
    free: dict[str, tuple[float, float]] = {}
    for name in SHOWN:
        now = sum(node.available_resources.get(name, 0.0) for node in alive)
        free[name] = (now, sum(node.total_resources.get(name, 0.0) for node in alive))
    scaler = reply.autoscaling_state
    coming: Counter[str] = Counter()
    for launch in scaler.pending_instance_requests:
        coming[launch.ray_node_type_name] += launch.count
    for instance in scaler.pending_instances:
        coming[instance.ray_node_type_name] += 1
    failed = [f"{f.ray_node_type_name}: {f.reason}" for f in scaler.failed_instance_requests]
    return _Cluster(
        Resources(len(alive), free, scaler.autoscaler_state_version > 0, coming, tuple(failed)),
        [(dict(node.total_resources), dict(node.labels)) for node in alive],
        [
            dict(each.request.resources_bundle)
            for each in reply.cluster_resource_state.pending_resource_requests
        ],
        # Their details: `<id>:<strategy>|<state>`.
        frozenset(g.details.partition(":")[0] for g in scaler.infeasible_gang_resource_requests),
    )


def _groups(cluster: _Cluster, named: Sequence[Request]) -> Iterator[Demand]:
    """Placement groups: trials and ranks."""
    from ray.util.state import list_placement_groups

    found: dict[tuple[object, ...], list[tuple[Request, Any]]] = defaultdict(list)
    mine = [_of_this_job("creator_job_id")]
    for group in list_placement_groups(filters=mine, **LISTED):
        if group.state in (*WAITING_GROUPS, "CREATED"):
            bundle, number = group.bundles[0], len(group.bundles)
            resources, labels = bundle["unit_resources"], bundle.get("label_selector") or {}
            request = _named(resources, labels, number, named)
            found[_key(request)].append((request, group))
    for groups in found.values():
        request, waiting = groups[0][0], [g for _, g in groups if g.state in WAITING_GROUPS]
        refused = {group.placement_group_id for group in waiting} <= cluster.refused
        yield cluster.demand(request, len(waiting), len(groups) - len(waiting), refused)


def _unsized(
    cluster: _Cluster, named: Sequence[Request], groups: Sequence[Demand]
) -> Iterator[Demand]:
    """Ranks whose number may change: Ray Train asks for a group of them once there is place for
    enough, and until then only its controller is there."""
    from ray.util.state import list_actors

    asked = {demand.what for demand in groups}
    for request in named:
        if request.enough == request.bundles or request.what in asked:
            continue
        alive = [_of_this_job("job_id"), ("state", "=", "ALIVE")]
        if list_actors(filters=[*alive, ("class_name", "=", CONTROLLER)], **LISTED):
            yield cluster.demand(request, waiting=1, held=0, refused=False)


def _actors(cluster: _Cluster, named: Sequence[Request]) -> Iterator[Demand]:
    """Actors outside placement groups, such as those that predict."""
    from ray.util.state import list_actors

    counts: dict[tuple[object, ...], tuple[Request, Counter[bool]]] = {}
    alive = [_of_this_job("job_id"), ("state", "!=", "DEAD")]
    for actor in list_actors(filters=alive, **LISTED):
        resources = actor.required_resources or {}
        if actor.placement_group_id or not any(resources.values()):
            continue
        request = _named(resources, actor.label_selector or {}, 1, named)
        # One that has a node and is not alive yet loads what it needs.
        waits = actor.state in WAITING_ACTORS and not actor.node_id
        counts.setdefault(_key(request), (request, Counter()))[1][waits] += 1
    for request, number in counts.values():
        yield cluster.demand(request, number[True], number[False], refused=False)


def _tasks(cluster: _Cluster) -> Iterator[Demand]:
    """Tasks: those of Ray Data, and conversions of checkpoints."""
    from ray.util.state import list_tasks

    def some(state: str) -> list[Any]:
        mine = [_of_this_job("job_id"), ("type", "=", "NORMAL_TASK"), ("state", "=", state)]
        return list(list_tasks(filters=mine, **{**LISTED, "limit": SOME}))

    # Ray's list of tasks may keep one as waiting that is long gone, with its node for instance.
    waiting = [
        task for task in some("PENDING_NODE_ASSIGNMENT") if task.required_resources in cluster.asked
    ]
    if waiting:
        first = waiting[0]
        request = Request(TASKS, {}, first.required_resources, first.label_selector or {})
        # A task of no resources may wait for others, as those of an ablation do.
        running = [task for task in some("RUNNING") if task.required_resources]
        yield cluster.demand(request, len(waiting), len(running), refused=False)


def _named(
    resources: Mapping[str, float],
    labels: Mapping[str, str],
    bundles: int,
    named: Sequence[Request],
) -> Request:
    """The one of `named` that asks for this; one without a name where it is none of them."""
    for request in named:
        asked = dict(request.resources), dict(request.labels)
        number = request.enough <= bundles <= request.bundles
        if number and asked == (dict(resources), dict(labels)):
            return request
    return Request("work", {}, resources, labels, bundles)


def _key(request: Request) -> tuple[object, ...]:
    return request.what, request.needs, request.bundles


def _of_this_job(name: str) -> tuple[str, str, str]:
    import ray

    return name, "=", ray.get_runtime_context().get_job_id()


def _answers(head: str) -> bool:
    """Whether anything listens at the address of the GCS."""
    host, _, port = head.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def heard(say: Callable[[str], None], every: float = LOOK_SECONDS) -> Iterator[None]:
    """Say when the cluster's head no longer answers while the body runs, the session's end
    included, and end the process with status 1 before Ray does it without a word."""
    import ray

    over, ending = threading.Event(), threading.Lock()
    head = ray.get_runtime_context().gcs_address
    silence = Silence(head, float(os.environ.get(RECONNECT, RECONNECT_SECONDS)))

    def listen() -> None:
        while not over.wait(every):
            asked = time.monotonic()
            try:
                lines = list(silence.look(_answers(head), asked))
            except HeadLost as error:
                with ending:
                    if not over.is_set():
                        say(f"failed: {error}; finished work is kept, and the same command resumes")
                        # The main thread is within a call of Ray's that nothing interrupts.
                        os._exit(1)
                return
            for line in lines:
                say(line)

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        with ending:
            over.set()


@contextmanager
def watched(
    say: Callable[[str], None],
    minutes: float,
    named: Sequence[Request],
    every: float = LOOK_SECONDS,
) -> Iterator[None]:
    """Say what this job waits for, from another thread, while the body runs.

    Raises Starved in place of the body's end when work has waited for `minutes`. `named`: what the
    job is known to ask for.
    """
    over, ending, starved = threading.Event(), threading.Lock(), list[Starved]()
    patience = Patience(minutes)

    def watch() -> None:
        while not over.wait(every):
            try:
                lines = list(patience.look(*look(named), time.monotonic()))
            except Starved as error:
                with ending:  # not once the work has ended
                    if not over.is_set():
                        starved.append(error)
                        # Ends what the main thread waits in, as `ray job stop` does.
                        os.kill(os.getpid(), signal.SIGTERM)
                return
            except Exception:  # the state of a busy head may be late; the work itself is not
                if not over.is_set():
                    logger.warning("can't tell what waits for resources", exc_info=True)
                continue
            for line in lines:
                say(line)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            with ending:
                over.set()
    except BaseException as error:
        if starved:
            raise starved[0] from error
        raise
    watcher.join(every)
