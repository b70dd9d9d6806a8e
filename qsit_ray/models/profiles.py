"""pure: the profile that a model's folder carries, and the profiles that have a name.

A model that was trained with other prompts than the paper's has them in its folder, so that it is
asked as it was trained.
"""

from __future__ import annotations

from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.config.files import validated
from qsit_ray.config.prompts import Prompts
from qsit_ray.errors import InputError
from qsit_ray.models.hub import folder_of, further_file, is_on_hub
from qsit_ray.prompts import PAPER, PROFILES, Profile

FILE = "profile.json"


def named(name: str) -> Profile:
    """The profile of that name. Raises InputError that lists the names."""
    if name not in PROFILES:
        raise InputError(f"profile {name!r} is not known; expected one of: {', '.join(PROFILES)}")
    return PROFILES[name]


def chosen(name: str | None, model: str) -> Profile:
    """The profile of that name, or else that of a model. Errors as `named` and `of`."""
    return of(model) if name is None else named(name)


def of(model: str) -> Profile:
    """The profile of a model, a folder or a name on the Hub: the paper's, if it carries none.
    Raises InputError naming the file of one that can't be read."""
    file = folder_of(model) / FILE
    if not file.exists() and is_on_hub(model):
        file = further_file(model, FILE) or file
    return read(file) if file.exists() else PAPER


def read(file: Path) -> Profile:
    """The profile of a file. Raises InputError naming it, and the key that is wrong."""
    return validated(Prompts, artifacts.read_json(file), str(file)).profile


def write(folder: Path, prompts: Prompts) -> None:
    """Write the prompts into a model's folder, if they are not the paper's."""
    if prompts != Prompts():
        artifacts.write_json(folder / FILE, prompts.model_dump(mode="json"))
