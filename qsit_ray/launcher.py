"""pure: what the autoscaler of a Ray cluster may bring, from the cluster launcher's YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt

from qsit_ray.config.files import read_yaml, validated
from qsit_ray.errors import InputError
from qsit_ray.placement import Request


class NodeType(BaseModel):
    """One of `available_node_types`, as far as it is of use here; other keys are ignored."""

    resources: dict[str, NonNegativeFloat] = {}
    labels: dict[str, str] = {}
    min_workers: NonNegativeInt = 0
    max_workers: NonNegativeInt | None = None


class Launcher(BaseModel):
    """A cluster launcher's file, as far as it is of use here."""

    available_node_types: dict[str, NodeType]
    head_node_type: str | None = None
    max_workers: NonNegativeInt = 2
    """Ray's default."""

    def bundles(self, request: Request) -> int:
        """Bundles of `request` that the nodes together hold which the cluster may have at once: its
        head, the workers that are always there, and of the others those that hold most."""
        kinds = self.available_node_types
        head = kinds.get(self.head_node_type or "")
        found = _held(request, head) if head else 0
        free = self.max_workers - sum(kind.min_workers for kind in kinds.values())
        for kind in sorted(kinds.values(), key=lambda kind: -_held(request, kind)):
            # As Ray has it: no worker of the head's kind unless it is said.
            most = (
                (0 if kind is head else self.max_workers)
                if kind.max_workers is None
                else kind.max_workers
            )
            if _held(request, kind):
                more = max(0, min(free, most - kind.min_workers))
                free -= more
                found += (kind.min_workers + more) * _held(request, kind)
        return found

    def together(self, request: Request) -> int:
        """Bundles of one `request` that it may have at once: all of them on one node where it says
        so."""
        if not request.one_node:
            return self.bundles(request)
        return max((_held(request, kind) for kind in self.available_node_types.values()), default=0)


def _held(request: Request, kind: NodeType) -> int:
    """Bundles that a node of this kind holds."""
    return request.fits(kind.resources, kind.labels)


def read_launcher(path: Path) -> Launcher:
    """Raises InputError naming the file, and the key that is missing or wrong."""
    content: Any = read_yaml(path)
    found = validated(Launcher, content, str(path))
    if found.head_node_type not in (None, *found.available_node_types):
        raise InputError(
            f"{path}: head_node_type {found.head_node_type!r} is none of available_node_types"
        )
    for name, kind in found.available_node_types.items():
        if name != found.head_node_type and not kind.resources:
            raise InputError(
                f"{path}: available_node_types.{name}.resources: state its CPU and GPU; an "
                "instance type does not tell them here"
            )
    return found
