"""The cluster files, and what their checks share: each is a function from content to problems."""

import copy
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
)


def load(name):
    return yaml.safe_load((ROOT / name).read_text())


def manifest():
    return list(yaml.safe_load_all((ROOT / "cluster/rayjob.yaml").read_text()))


# What nodes are labelled with, and whether such nodes have GPUs.
KINDS = {"cpu": False, "proxy": True, "primary": True}


def label_problems(labels_and_gpus):
    """Problems of worker types, given as name: (labels, number of GPUs)."""
    of = {name: labels.get("qsit") for name, (labels, _) in labels_and_gpus.items()}
    checks = [(kind in of.values(), f"no workers labelled qsit: {kind}") for kind in KINDS]
    for name, (_, gpus) in labels_and_gpus.items():
        right = KINDS.get(of[name]) == (gpus > 0)
        checks.append((right, f"{name}: {gpus} GPUs do not suit its label {of[name]}"))
    return failed(checks)


def failed(checks):
    """The messages of the checks (holds, message) that do not hold."""
    return [message for holds, message in checks if not holds]


def image_problems(image):
    first, slash, _ = image.partition("/")
    host = slash and ("." in first or ":" in first or first == "localhost")
    tag = image.rpartition("/")[2].partition(":")[2]
    return failed(
        [
            (not host, f"{image}: names a registry host"),
            (tag not in {"", "latest", "nightly"}, f"{image}: no fixed tag"),
        ]
    )


def planted(value, path, change):
    """A copy of `value` in which the item at `path` is `change`, or gone when that is None."""
    value = copy.deepcopy(value)
    target = value
    for key in path[:-1]:
        target = target[key]
    if change is None:
        del target[path[-1]]
    else:
        target[path[-1]] = change
    return value
