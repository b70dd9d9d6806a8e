"""pure: config.yaml of a run: its settings, what it was made with, and the changes since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import files
from qsit_ray.config.changes import Change, Part, changes, parts_of
from qsit_ray.config.config import Config
from qsit_ray.errors import InputError
from qsit_ray.train.checkpoint import Committed

MADE_WITH, HISTORY = files.RUN_ENTRIES
FROM = "from"
"""In made_with: the run that this one was made from."""
YAML = dict[str, Any]
"""Values of a YAML file."""


@dataclass(frozen=True)
class RunConfig:
    """config.yaml: the settings of a run now; `made_with`: versions of packages; `history`: the
    time of each change, with the old and the new value of each setting."""

    settings: Config
    made_with: YAML
    history: list[YAML]

    @classmethod
    def read(cls, run: RunFolder) -> RunConfig:
        """Raises InputError when there is no run or its file can't be read."""
        if not run.config.exists():
            raise InputError(f"{run.path}: no run here (config.yaml is missing)")
        values = files.read_yaml(run.config)
        made_with, history = {}, []
        if isinstance(values, dict):
            made_with, history = values.pop(MADE_WITH, {}), values.pop(HISTORY, [])
        return cls(files.validated(Config, values, str(run.config)), made_with, history)

    def write(self, run: RunFolder) -> None:
        extra: YAML = {MADE_WITH: self.made_with}
        if self.history:
            extra[HISTORY] = self.history
        text = files.dump(self.settings) + yaml.safe_dump(extra, sort_keys=False)
        artifacts.write_text(run.config, text)


def opened(run: RunFolder) -> Config:
    """A run's settings. Raises InputError as `RunConfig.read` does."""
    return RunConfig.read(run).settings


def change(run: RunFolder, settings: Config) -> list[Change]:
    """Give an existing run other settings, and note the change in its config.yaml.

    Raises InputError when results of the run depend on a setting that differs.
    """
    known = RunConfig.read(run)
    found = changes(known.settings, settings)
    if not found:
        return []
    worked = work(run, known.settings)
    for each in found:
        if done := [worked[part] for part in each.parts if part in worked]:
            raise InputError(
                f"{run.config}: {each.key} is {each.before}, not {each.now}: {done[0]} with it; "
                "use another --out, or the same value"
            )
    noted = {each.key: [each.before, each.now] for each in found}
    time = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"time": time, "changed": noted}
    RunConfig(settings, known.made_with, [*known.history, entry]).write(run)
    return found


def work(run: RunFolder, settings: Config) -> dict[Part, str]:
    """What a run has computed that must not be lost, in words, by part."""
    # Here: to open a run needs no pyarrow.
    from qsit_ray.search.records import FINAL_PROXIES, finished, folder_of

    found: dict[Part, str] = {}
    searches = [*(axis.name for axis in settings.axes), FINAL_PROXIES]
    for part, search in zip(parts_of(settings.axes), searches, strict=False):
        if done := len(finished(folder_of(run, search, settings.search.storage))):
            found[part] = f"{done} trials of {search} were trained"
    commits = [c for f in run.train.glob("ray-*/committed.json") for c in Committed.read(f).commits]
    if commits or run.model.exists():
        found["train"] = "the primary was trained"
    return found
