"""rim: notices that a node of the training is about to go, as clouds send for spot machines."""

from __future__ import annotations

import logging
import os
import time
from datetime import UTC, datetime

import ray.train

EVERY_SECONDS = 5.0
"""As often as Ray looks at the nodes; a spot machine has thirty seconds or more left."""

logger = logging.getLogger(__name__)


class Notices:
    """One rank's part; every rank makes the same calls."""

    def __init__(self) -> None:
        self.possible = os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "1"
        self._looked = time.monotonic()
        self._last: ray.train.PreemptionInfo | None = None

    def is_due(self) -> bool:
        """Whether by this rank's clock it is time to look again."""
        return self.possible and time.monotonic() - self._looked >= EVERY_SECONDS

    def is_new(self) -> bool:
        """Whether there is a notice that was not there before. A collective call: each rank gets
        what rank 0 was told."""
        self._looked = time.monotonic()
        found = ray.train.get_preemption_info()
        if found is None or found == self._last:
            return False
        self._last = found
        until = found.deadline_ms
        by = datetime.fromtimestamp(until / 1e3, UTC).isoformat() if until else "any moment"
        logger.warning("nodes go by %s: %s; saving", by, ", ".join(found.preempted_node_ids))
        return True
