"""rim: how many ranks a training has at the moment, where their number may change.

Ray's own elastic policy counts what the nodes have: those without the label that the ranks ask for
too, those that are about to go, and what other work holds. It also stops the ranks as soon as a
node comes, and with them all steps since the last checkpoint. Both are replaced here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import ray
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.controller.state import RestartingState, TrainControllerState
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState

from qsit_ray.placement import Node, Request, Settling, places
from qsit_ray.train.checkpoint import Checkpoints

LOOK_SECONDS = 1.0
SETTLE_SECONDS = 15.0
"""For so long no more places must come before fewer ranks than all start: nodes come one by
one, and Ray takes about as long to learn that one is dead."""


class Sizes(ElasticScalingPolicy):
    """Starts as many ranks as there are places for, within the bounds of `request`, and more once a
    checkpoint is committed while there is place. It never takes ranks away: where a node goes, Ray
    Train ends them all, and this starts the others again.

    `request`: with the labels that nodes have. After the last of `epochs` no more start.
    """

    def __init__(
        self, scaling: ScalingConfig, request: Request, checkpoints: Checkpoints, epochs: int
    ):
        super().__init__(scaling)
        self.request, self.checkpoints, self.epochs = request, checkpoints, epochs
        self._considered: str | None = None  # the checkpoint after which places were counted
        self._failed = False  # the ranks ended, and Ray Train gives their places back at the start
        self._held: Mapping[str, int] = {}
        self._settling = Settling()

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        if type(previous_state) is not type(current_state):
            self._failed = isinstance(current_state, RestartingState)
            self._settling = Settling()

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._maybe_send_resource_request()
        found = places(self.request, _nodes(), self._held if self._failed else {})
        lasted = self._settling.seconds(found, self.request.enough, time.monotonic())
        # A node that has just died may still count.
        whole = found == self.request.bundles and not self._failed
        if lasted is not None and (whole or lasted >= SETTLE_SECONDS):
            return self._get_resize_decision(found)
        time.sleep(LOOK_SECONDS)  # Ray Train asks again at once
        return NoopDecision()

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        self._maybe_send_resource_request()
        workers = worker_group_state.workers
        self._held = Counter(worker.metadata.node_id for worker in workers)
        if len(workers) == self.request.bundles:
            return NoopDecision()
        commits = self.checkpoints.commits()
        if not commits or commits[-1].name == self._considered or commits[-1].epoch >= self.epochs:
            return NoopDecision()
        self._considered = commits[-1].name
        found = places(self.request, _nodes(), self._held)
        if found <= worker_group_state.num_workers:
            return NoopDecision()
        return self._get_resize_decision(found)


def _nodes() -> dict[str, Node]:
    """The nodes that are there and stay, by their ids."""
    going = ray._private.state.state.get_draining_nodes()
    free: Mapping[str, Mapping[str, float]] = ray._private.state.available_resources_per_node()
    return {
        node["NodeID"]: Node(node["Resources"], node["Labels"], free.get(node["NodeID"], {}))
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in going
    }
