"""pure: the settings of a run on a cluster."""

from __future__ import annotations

from typing import Annotated

from qsit_ray.config.section import OPERATIONAL, Positive, Section


class Cluster(Section):
    """Patience with a cluster of more than this machine."""

    wait_minutes: Annotated[Positive, OPERATIONAL] = 30.0
    """Minutes that trials, ranks or data tasks wait for their resources while none of them has any;
    then the run fails, and goes on when started again. 30: a cloud brings a GPU machine with a
    large image in ten, and some machines only at the second try."""
