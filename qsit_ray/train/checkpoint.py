"""pure: which checkpoints of a training are whole, and from which it goes on.

Ray Train hears of a checkpoint some time after the workers have gone on, and writes its list in
place: a kill can leave the list behind the training, half written, or missing. So rank 0 notes a
checkpoint in `committed.json` once every rank has written its part, and that file alone says where
the training stands.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qsit_ray import artifacts
from qsit_ray.config.files import changed
from qsit_ray.errors import InputError

RAYS_LIST = "checkpoint_manager_snapshot.json"


@dataclass(frozen=True)
class Commit:
    """A checkpoint that is whole: training goes on with `step` of `epoch`.

    `loss` is the mean of the validation losses; null inside an epoch. `files` are its files by
    path, with their bytes.
    """

    name: str
    epoch: int
    step: int
    loss: float | None
    files: dict[str, int] = field(default_factory=dict)


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
        commits = self._read()["commits"]
        try:
            return [Commit(**commit) for commit in commits]
        except TypeError as error:
            raise InputError(f"{self.file}: not a list of checkpoints: {error}") from None

    def latest(self) -> tuple[Commit, Path] | None:
        """The commit to go on from and its folder; None before the first.

        Raises InputError naming the file that is missing or was cut: to train anew is for the user
        to decide.
        """
        commits = self.commits()
        if not commits:
            return None
        path = self.folder / commits[-1].name
        there = _files(path)
        for name, size in commits[-1].files.items():
            if there.get(name) != size:
                found = f"{there[name]} bytes of {size}" if name in there else "missing"
                raise InputError(
                    f"{path / name}: {found}; training can't go on from this checkpoint. Put the "
                    f"file back, or remove {self.folder.parent} to train anew"
                )
        return commits[-1], path

    def commit(self, new: Commit, session: str) -> None:
        """Note a checkpoint that every rank has written, and remove those past keeping.

        Raises RuntimeError when another session has taken over.
        """
        state = self._read()
        if state["session"] != session:
            raise RuntimeError(f"{self.folder}: another session trains here now")
        whole = Commit(new.name, new.epoch, new.step, new.loss, _files(self.folder / new.name))
        commits = [*self.commits(), whole]
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

    Raises InputError when another training's checkpoints lie there, naming the inputs that changed
    since, when epochs were recorded that no checkpoint holds, or when a checkpoint is not whole.
    """
    recorded = len(artifacts.read_jsonl(epochs)) if epochs.exists() else 0
    latest = mine.latest()
    if latest is not None and recorded <= latest[0].epoch:
        return
    for file in sorted(train.glob("ray-*/committed.json")):
        other = artifacts.read_json(file)
        names = changed(other["inputs"], dict(inputs))
        if other["commits"] and names:
            raise InputError(
                f"{file.parent}: trained with another {' and another '.join(names)}; remove "
                f"{train} to train anew"
            )
    if recorded:
        raise InputError(
            f"{epochs}: {recorded} epochs are recorded, but no checkpoint holds them; remove "
            f"{train} to train anew"
        )


def _files(folder: Path) -> dict[str, int]:
    """Bytes of each file below `folder`."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
