"""rim: a provider for Ray's autoscaler whose nodes come late, as those of a cloud do."""

from __future__ import annotations

import threading
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE


class LateNodes(FakeMultiNodeProvider):
    """Nodes are raylets on this machine. `seconds` in the provider's configuration: of each node
    type, how long after it is asked for a node is there."""

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        seconds = self.provider_config["seconds"].get(tags[TAG_RAY_USER_NODE_TYPE], 0.0)
        create = super().create_node_with_resources_and_labels
        timer = threading.Timer(seconds, create, (node_config, tags, count, resources, labels))
        timer.daemon = True
        timer.start()
