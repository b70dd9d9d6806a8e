"""pure: which checkpoints of a training are whole, and from which it goes on.

Ray Train hears of a checkpoint some time after the workers have gone on, and writes its list in
place: a kill can leave the list behind the training, half written, or missing. So rank 0 notes a
checkpoint in `committed.json` once every rank has written its part, and that file alone says where
the training stands.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.errors import InputError

RAYS_LIST = "checkpoint_manager_snapshot.json"


@dataclass(frozen=True)
class Commit:
    """A checkpoint that is whole: training goes on with `step` of `epoch`.

    `loss` is the mean of the validation losses; null inside an epoch.
    """

    name: str
    epoch: int
    step: int
    loss: float | None


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in `folder`, Ray Train's storage of one run; the last `kept` are kept, and
    the one with the least validation loss."""

    folder: Path
    kept: int

    @property
    def file(self) -> Path:
        return self.folder / "committed.json"

    def claim(self, session: str, inputs: Mapping[str, Any]) -> None:
        """Let `session` write here and no other, not even one whose processes linger on.

        Ray starts with an empty list: one that lies here may be torn.
        """
        self._write(self.commits(), session, inputs)
        (self.folder / RAYS_LIST).unlink(missing_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Remove what was never committed."""
        names = {commit.name for commit in self.commits()}
        for path in self.folder.glob("epoch_*"):
            if path.name not in names:
                shutil.rmtree(path)

    def commits(self) -> list[Commit]:
        """All commits, the newest last. Raises InputError when their list can't be read."""
        return [Commit(**commit) for commit in self._read()["commits"]]

    def latest(self) -> tuple[Commit, Path] | None:
        """The commit to go on from and its folder; None before the first.

        Raises InputError when the folder is gone: training anew is for the user to decide.
        """
        commits = self.commits()
        if not commits:
            return None
        path = self.folder / commits[-1].name
        if not path.is_dir():
            raise InputError(f"{path}: missing, but {self.file.name} says to go on from it")
        return commits[-1], path

    def commit(self, new: Commit, session: str) -> None:
        """Note a checkpoint that every rank has written, and remove those past keeping.

        Raises RuntimeError when another session has taken over.
        """
        state = self._read()
        if state["session"] != session:
            raise RuntimeError(f"{self.folder}: another session trains here now")
        commits = [*self.commits(), new]
        losses = {commit.name: commit.loss for commit in commits if commit.loss is not None}
        best = min(losses, key=losses.__getitem__, default=None)
        kept = [c for c in commits if c in commits[-self.kept :] or c.name == best]
        self._write(kept, session, state["inputs"])
        self.tidy()

    def _read(self) -> dict[str, Any]:
        if not self.file.exists():
            return {"session": None, "inputs": {}, "commits": []}
        return artifacts.read_json(self.file)

    def _write(self, commits: list[Commit], session: str, inputs: Mapping[str, Any]) -> None:
        artifacts.write_json(
            self.file,
            {
                "session": session,
                "inputs": dict(inputs),
                "commits": [asdict(commit) for commit in commits],
            },
        )


def check_standing(train: Path, epochs: Path, mine: Checkpoints, inputs: Mapping[str, Any]) -> None:
    """Refuse to train anew over a training that stands below `train`.

    Raises InputError when epochs were recorded that no checkpoint of these inputs holds, naming
    the inputs that changed since, or when a commit's folder is gone.
    """
    recorded = len(artifacts.read_jsonl(epochs)) if epochs.exists() else 0
    latest = mine.latest()
    if recorded <= (latest[0].epoch if latest else 0):
        return
    for file in sorted(train.glob("ray-*/committed.json")):
        other = artifacts.read_json(file)["inputs"]
        changed = [name for name in inputs if other.get(name) != inputs[name]]
        if file != mine.file and changed:
            raise InputError(
                f"{epochs}: trained with another {' and another '.join(changed)}; remove {train} "
                "to train anew"
            )
    raise InputError(
        f"{epochs}: {recorded} epochs are recorded, but no checkpoint holds them; remove {train} "
        "to train anew"
    )
