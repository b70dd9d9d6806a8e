"""pure: what other commands printed with --json, where it is kept in the run's evaluation/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError

Result = TypeVar("Result")
DIMENSIONS = ("completeness", "precision", "relevance")


@dataclass(frozen=True)
class Cost:
    """Of one image (Fig. 7), by `qsit evaluate efficiency`: weights, and of scoring and answering
    FLOPs, median seconds and peak bytes; None where they were not measured."""

    parameters: int
    flops: dict[str, int]
    seconds: dict[str, float] | None
    peak_bytes: dict[str, int] | None
    image: tuple[int, int]
    answer_tokens: int
    device: str | None


@dataclass(frozen=True)
class Described:
    """A row of Table VI, by `qsit evaluate lldescribe`: the score of each dimension with its
    interval, their sum, the images, and the judge."""

    scores: dict[str, tuple[float | None, tuple[float, float] | None]]
    images: int
    judge: str


def efficiency(run: RunFolder) -> dict[str, Cost]:
    """By model, from evaluation/efficiency/<model>.json. Raises InputError naming a file that is
    not what the command prints."""
    return _kept(run.evaluation / "efficiency", _cost)


def lldescribe(run: RunFolder) -> dict[str, Described]:
    """By model, from evaluation/lldescribe/<model>.json, as `efficiency`."""
    return _kept(run.evaluation / "lldescribe", _described)


def _kept(folder: Path, read: Callable[[Mapping[str, Any]], Result]) -> dict[str, Result]:
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = artifacts.read_json(path)
        try:
            found[path.stem] = read(content)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            reason = f"qsit evaluate {folder.name} prints with --json"
            raise InputError(f"{path}: not what {reason}: {error}") from None
    return found


def _cost(content: Mapping[str, Any]) -> Cost:
    seconds, memory = content["latency_seconds"], content["peak_memory_bytes"]
    return Cost(
        int(content["parameters"]["total"]),
        {work: int(each["counted"]) for work, each in content["flops"].items()},
        None if seconds is None else {w: float(each["median"]) for w, each in seconds.items()},
        None if memory is None else {w: int(memory[w]) for w in ("scoring", "answering")},
        (int(content["image"]["width"]), int(content["image"]["height"])),
        int(content["answer_tokens"]),
        content["device"],
    )


def _described(content: Mapping[str, Any]) -> Described:
    scores = {
        name: (content["dimensions"][name]["score"], _pair(content["dimensions"][name]["interval"]))
        for name in DIMENSIONS
    }
    scores["sum"] = (content["sum"], _pair(content["sum_interval"]))
    return Described(scores, int(content["images"]), str(content["judge"]))


def _pair(ends: Any) -> tuple[float, float] | None:
    return None if ends is None else (float(ends[0]), float(ends[1]))
