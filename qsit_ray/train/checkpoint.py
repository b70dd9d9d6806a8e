"""pure: the complete checkpoints of a training, and the one that it resumes from.

Ray Train registers a checkpoint some time after the workers have continued, and writes its list in
place: a kill can leave the list out of date, half written, or missing. So rank 0 enters a
checkpoint in `committed.json` once every rank has written its part. That file alone decides where
a training resumes.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.config.changes import differ
from qsit_ray.config.files import validated
from qsit_ray.errors import InputError

RAYS_LIST = "checkpoint_manager_snapshot.json"
Inputs = dict[str, object]
"""JSON of everything that a training depends on."""


@dataclass(frozen=True)
class Commit:
    """A complete checkpoint: training continues with `step` of `epoch`.

    `loss` is the mean of the validation losses; None inside an epoch. `files` are the sizes of its
    files in bytes, by path.
    """

    name: str
    epoch: int
    step: int
    loss: float | None
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Committed:
    """committed.json: the session that may write, its inputs, and the commits, newest last."""

    session: str | None
    inputs: Inputs
    commits: list[Commit]

    @classmethod
    def read(cls, file: Path) -> Committed:
        """Empty where there is no file. Raises InputError when it can't be read, or names a
        checkpoint outside of its folder: checkpoints are unpickled, and only the run's own are."""
        if not file.exists():
            return cls(None, {}, [])
        found = validated(cls, artifacts.read_json(file), str(file))
        for commit in found.commits:
            if (file.parent / commit.name).resolve().parent != file.parent.resolve():
                raise InputError(
                    f"{file}: {commit.name} leads out of this folder; a checkpoint from elsewhere "
                    "is not loaded"
                )
        return found


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in `folder`, Ray Train's storage of one run. The last `kept` are kept, and
    the one with the lowest validation loss."""

    folder: Path
    kept: int

    @property
    def file(self) -> Path:
        return self.folder / "committed.json"

    def claim(self, session: str, inputs: Inputs) -> None:
        """Let only `session` write here from now on; processes of a killed one may still run.

        Ray's own list is removed, since it may be half written; Ray starts with an empty one.
        """
        self._write(Committed(session, inputs, self.commits()))
        (self.folder / RAYS_LIST).unlink(missing_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Remove the checkpoints that were never committed."""
        names = {commit.name for commit in self.commits()}
        for path in self.folder.glob("epoch_*"):
            if path.name not in names:
                shutil.rmtree(path)

    def commits(self) -> list[Commit]:
        """All commits, the newest last. Raises InputError when their list can't be read."""
        return Committed.read(self.file).commits

    def latest(self) -> tuple[Commit, Path] | None:
        """The commit to resume from and its folder; None before the first.

        Raises InputError naming the file that is missing or was cut: only the user may decide to
        train again from the start.
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
                    f"{path / name}: {found}; training can't resume from this checkpoint. Put the "
                    f"file back, or remove {self.folder.parent} to train from the start"
                )
        return commits[-1], path

    def commit(self, new: Commit, session: str) -> None:
        """Enter a checkpoint that every rank has written, and remove those not kept any longer.

        Raises RuntimeError when another session has taken over.
        """
        committed = Committed.read(self.file)
        if committed.session != session:
            raise RuntimeError(f"{self.folder}: another session trains here now")
        commits = [*committed.commits, replace(new, files=_files(self.folder / new.name))]
        losses = {commit.name: commit.loss for commit in commits if commit.loss is not None}
        best = min(losses, key=losses.__getitem__, default=None)
        kept = [c for c in commits if c in commits[-self.kept :] or c.name == best]
        self._write(replace(committed, commits=kept))
        self.tidy()

    def _write(self, committed: Committed) -> None:
        artifacts.write_json(self.file, asdict(committed))


def check_resumable(train: Path, epochs: Path, mine: Checkpoints, inputs: Inputs) -> None:
    """Refuse to train from the start over another training below `train`.

    Raises InputError when another training's checkpoints are there, naming the inputs that differ,
    when epochs were recorded that no checkpoint holds, or when a checkpoint is not complete.
    """
    recorded = len(artifacts.read_jsonl(epochs)) if epochs.exists() else 0
    latest = mine.latest()
    if latest is not None and recorded <= latest[0].epoch:
        return
    for file in sorted(train.glob("ray-*/committed.json")):
        other = Committed.read(file)
        names = [name for name, *_ in differ(other.inputs, inputs)]
        if other.commits and names:
            raise InputError(
                f"{file.parent}: trained with another {' and another '.join(names)}; remove "
                f"{train} to train from the start"
            )
    if recorded:
        raise InputError(
            f"{epochs}: {recorded} epochs are recorded, but no checkpoint holds them; remove "
            f"{train} to train from the start"
        )


def _files(folder: Path) -> dict[str, int]:
    """Bytes of each file below `folder`."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
