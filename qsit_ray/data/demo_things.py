"""pure: a hand-written table of what stands where in the demo's photographs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """Something to be seen in a photograph; `box` is left, top, right, bottom as shares of its
    size."""

    name: str
    colour: str
    box: tuple[float, float, float, float]


THINGS: dict[str, tuple[Thing, ...]] = {
    "astronaut": (
        Thing("a face", "pink", (0.33, 0.03, 0.60, 0.36)),
        Thing("a flag", "red", (0.0, 0.0, 0.20, 0.75)),
        Thing("a model shuttle", "white", (0.70, 0.0, 0.92, 0.55)),
        Thing("a helmet", "white", (0.55, 0.68, 1.0, 1.0)),
        Thing("a space suit", "orange", (0.05, 0.40, 0.72, 1.0)),
    ),
    "camera": (
        Thing("a man", "black", (0.0, 0.12, 0.55, 1.0)),
        Thing("a camera", "grey", (0.45, 0.25, 0.66, 0.48)),
        Thing("a tripod", "grey", (0.44, 0.45, 0.82, 1.0)),
        Thing("a city", "grey", (0.66, 0.20, 1.0, 0.48)),
        Thing("grass", "grey", (0.60, 0.46, 1.0, 1.0)),
    ),
    "china": (
        Thing("a pagoda", "red", (0.10, 0.05, 0.57, 0.92)),
        Thing("trees", "green", (0.0, 0.72, 1.0, 1.0)),
        Thing("a tree", "green", (0.84, 0.30, 1.0, 0.85)),
        Thing("a lake", "grey", (0.50, 0.46, 0.90, 0.75)),
        Thing("the sky", "white", (0.0, 0.0, 1.0, 0.45)),
    ),
    "flower": (
        Thing("a flower", "orange", (0.26, 0.20, 0.69, 0.85)),
        Thing("a bud", "orange", (0.44, 0.86, 0.71, 1.0)),
        Thing("leaves", "green", (0.0, 0.0, 1.0, 1.0)),
    ),
    "motorcycle_left": (
        Thing("a wheel", "black", (0.17, 0.48, 0.37, 0.80)),
        Thing("a wheel", "black", (0.74, 0.55, 0.93, 0.92)),
        Thing("an engine", "grey", (0.40, 0.52, 0.64, 0.82)),
        Thing("a fuel tank", "red", (0.47, 0.30, 0.69, 0.53)),
        Thing("boxes", "brown", (0.45, 0.0, 1.0, 0.40)),
        Thing("a bench", "brown", (0.0, 0.22, 0.32, 0.60)),
        Thing("the floor", "grey", (0.0, 0.75, 1.0, 1.0)),
    ),
    "rocket": (
        Thing("a rocket", "white", (0.46, 0.27, 0.54, 0.97)),
        Thing("lamps", "yellow", (0.10, 0.82, 0.90, 1.0)),
        Thing("a tower", "black", (0.0, 0.0, 0.16, 1.0)),
        Thing("a tower", "black", (0.86, 0.0, 1.0, 1.0)),
        Thing("the sky", "blue", (0.0, 0.0, 1.0, 0.80)),
    ),
    "brick": (Thing("a wall", "grey", (0.0, 0.0, 1.0, 1.0)),),
    "gravel": (Thing("gravel", "grey", (0.0, 0.0, 1.0, 1.0)),),
    "chelsea": (
        Thing("an eye", "green", (0.28, 0.26, 0.48, 0.54)),
        Thing("an eye", "green", (0.64, 0.34, 0.80, 0.58)),
        Thing("a cat", "brown", (0.0, 0.0, 0.92, 1.0)),
    ),
    "coins": (Thing("coins", "grey", (0.0, 0.0, 1.0, 1.0)),),
    "coffee": (
        Thing("coffee", "orange", (0.33, 0.20, 0.62, 0.46)),
        Thing("a spoon", "grey", (0.52, 0.40, 0.72, 0.82)),
        Thing("a cup", "red", (0.27, 0.02, 0.72, 0.66)),
        Thing("a saucer", "red", (0.13, 0.20, 0.80, 0.94)),
        Thing("a table", "brown", (0.0, 0.0, 1.0, 1.0)),
    ),
    "grace_hopper": (
        Thing("a hat", "black", (0.25, 0.0, 0.66, 0.23)),
        Thing("a face", "pink", (0.30, 0.22, 0.66, 0.52)),
        Thing("a flag", "red", (0.0, 0.0, 0.40, 0.60)),
        Thing("a uniform", "black", (0.0, 0.52, 1.0, 1.0)),
        Thing("the wall", "blue", (0.45, 0.0, 1.0, 0.65)),
    ),
    "quokka": (
        Thing("a face", "grey", (0.16, 0.05, 0.50, 0.58)),
        Thing("a quokka", "grey", (0.14, 0.05, 0.57, 1.0)),
        Thing("a wall", "green", (0.0, 0.0, 1.0, 0.48)),
        Thing("the floor", "grey", (0.0, 0.50, 1.0, 1.0)),
    ),
}
# The two are one scene a few centimetres apart.
THINGS["motorcycle_right"] = THINGS["motorcycle_left"]
