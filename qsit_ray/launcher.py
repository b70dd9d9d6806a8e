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
    max_workers: NonNegativeInt | None = None


class Launcher(BaseModel):
    """A cluster launcher's file, as far as it is of use here."""

    available_node_types: dict[str, NodeType]
    head_node_type: str | None = None
    max_workers: NonNegativeInt = 2
    """Ray's default."""

    def bundles(self, request: Request) -> int:
        """Bundles of `request` that all nodes together hold which the autoscaler may bring at once,
        its largest nodes first, and the head."""
        left, found = self.max_workers, 0
        by_size = sorted(
            ((request.fits(kind.resources, kind.labels), name, kind)
             for name, kind in self.available_node_types.items()),
            key=lambda each: (-each[0], each[1]),
        )  # fmt: skip
        for held, name, kind in by_size:
            if name == self.head_node_type:
                found += held
            elif held:
                nodes = left if kind.max_workers is None else min(left, kind.max_workers)
                left, found = left - nodes, found + nodes * held
        return found


def read_launcher(path: Path) -> Launcher:
    """Raises InputError naming the file, and the key that is missing or wrong."""
    content: Any = read_yaml(path)
    found = validated(Launcher, content, str(path))
    for name, kind in found.available_node_types.items():
        if name != found.head_node_type and not kind.resources:
            raise InputError(
                f"{path}: available_node_types.{name}.resources: state its CPU and GPU; an "
                "instance type does not tell them here"
            )
    return found
