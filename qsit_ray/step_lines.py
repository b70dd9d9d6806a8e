"""pure: steps.jsonl: a line for each optimiser step of a training or a trial, while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.config.files import validated
from qsit_ray.losses import flat, unkeyed

GIB = 2**30
# Dense bf16 FLOP/s of a GPU by a part of its name, from its maker's data sheets. The first that
# fits counts.
PEAK_FLOPS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "B200": 2250e12,
}


@dataclass(frozen=True)
class StepLine:
    """One line of steps.jsonl: a global batch, over all ranks.

    `time`: UTC, when it ended. Losses are in nats per answer token; a pool's is None where the
    batch has no row of it. `gradient_norm`: before clipping, None where DeepSpeed computes none.
    `rate`: the learning rate. `tokens`: text and image, without padding. `seconds` include
    `stall_seconds`, the wait for rows. `mfu`: model FLOPs over the GPUs' peak, None where it is not
    known. `peak_memory_gib`: of rank 0's GPU since the step before, None on a CPU. `ranks`: those
    that trained it, None in lines from before it was recorded.
    """

    time: str
    epoch: int
    step: int
    loss: float
    losses: Mapping[str, float | None]
    gradient_norm: float | None
    rate: float
    rows: int
    tokens: int
    seconds: float
    stall_seconds: float
    mfu: float | None
    peak_memory_gib: float | None
    ranks: int | None = None

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def to_json(self) -> dict[str, object]:
        rates = {
            "rows_per_second": round(self.rows_per_second, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
        }
        return {**flat(asdict(self)), **rates}

    def __str__(self) -> str:
        """A few words for the terminal."""
        text = f"loss {self.loss:.3f}, {self.rows_per_second:.3g} rows/s"
        if self.mfu is not None:
            text += f", {100 * self.mfu:.0f} % MFU"
        if self.peak_memory_gib is not None:
            text += f", {self.peak_memory_gib:.1f} GiB"
        return text


@dataclass(frozen=True)
class StepLog:
    """steps.jsonl of a training. It grows by a line a step, so a kill can leave a part of one."""

    file: Path

    def append(self, line: StepLine) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line.to_json(), allow_nan=False) + "\n")

    def rewind(self, epoch: int, step: int) -> None:
        """Keep the lines before `step` of `epoch`, from which the training goes on."""
        if self.file.exists():
            kept = [line for line in self.lines() if (line.epoch, line.step) < (epoch, step)]
            artifacts.write_jsonl(self.file, [line.to_json() for line in kept])

    def lines(self) -> list[StepLine]:
        """The steps so far; none where there is no file. A part of a line at the end is left out.

        Raises InputError naming a line that is not a step's.
        """
        if not self.file.exists():
            return []
        texts = self.file.read_text(encoding="utf-8").split("\n")[:-1]
        return validated(list[StepLine], [_stored(text) for text in texts], str(self.file))

    def last(self) -> StepLine | None:
        """The last step, read from the end of the file."""
        if not self.file.exists():
            return None
        with self.file.open("rb") as stream:
            stream.seek(max(0, self.file.stat().st_size - 4096))
            whole = stream.read().split(b"\n")[:-1]
        return validated(StepLine, _stored(whole[-1].decode()), str(self.file)) if whole else None


@dataclass(frozen=True)
class Rates:
    """Of some steps together, over all ranks. `stall`: the share of their time that they waited for
    rows. `mfu` and `peak_memory_gib`, the most of rank 0's GPU, are None on a CPU."""

    steps: int
    rows_per_second: float
    tokens_per_second: float
    stall: float
    mfu: float | None
    peak_memory_gib: float | None

    @classmethod
    def of(cls, lines: Sequence[StepLine]) -> Rates:
        """Raises ValueError without a step."""
        if not lines:
            raise ValueError("no steps to take rates of")
        seconds = sum(line.seconds for line in lines)
        used = [line.mfu * line.seconds for line in lines if line.mfu is not None]
        peaks = [line.peak_memory_gib for line in lines if line.peak_memory_gib is not None]
        return cls(
            steps=len(lines),
            rows_per_second=sum(line.rows for line in lines) / seconds,
            tokens_per_second=sum(line.tokens for line in lines) / seconds,
            stall=sum(line.stall_seconds for line in lines) / seconds,
            mfu=sum(used) / seconds if used else None,
            peak_memory_gib=max(peaks) if peaks else None,
        )


def first_of_ranks(lines: Sequence[StepLine]) -> StepLine:
    """The step from which on the ranks have been as many as they are at the last step.

    Raises ValueError without a step.
    """
    if not lines:
        raise ValueError("no steps")
    first = lines[-1]
    for line in reversed(lines):
        if line.ranks != first.ranks:
            break
        first = line
    return first


def mean_ranks(lines: Sequence[StepLine], epoch: int) -> float | None:
    """The mean number of ranks over the time of an epoch's steps; None where it is not known."""
    known = [(line.ranks, line.seconds) for line in lines if line.epoch == epoch and line.ranks]
    seconds = sum(taken for _, taken in known)
    return sum(ranks * taken for ranks, taken in known) / seconds if seconds else None


def _stored(text: str) -> dict[str, object]:
    values = json.loads(text)
    stored = {name: value for name, value in values.items() if not name.endswith("_per_second")}
    return dict(unkeyed(stored))


def peak_flops(device: str) -> float | None:
    """Dense bf16 FLOP/s of a GPU by its name, None where it is not known."""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in device), None)


@dataclass(frozen=True)
class Work:
    """The weights that each token and each patch of an image pass, for a step's FLOPs.

    `decoder`: of the language model and its head. `tower`: of vision tower and projector. `patches`
    of a tile. `trained`: of the decoder and of the tower; without it there is no backward pass to
    the weights.
    """

    decoder: int
    tower: int
    patches: int
    decoder_trained: bool = True
    tower_trained: bool = True

    def flops(self, tokens: int, tiles: int) -> float:
        """Model FLOPs of a training step: 2 a weight forward, 2 back to the inputs and 2 to the
        weights; attention's products of tokens with tokens and recomputation are left out."""
        # Gradients pass the decoder even where it is frozen, on their way to the projector.
        decoder = 2 + 2 + 2 * self.decoder_trained
        tower = 2 + 4 * self.tower_trained
        return decoder * self.decoder * tokens + tower * self.tower * self.patches * tiles

    def mfu(self, tokens: int, tiles: int, seconds: float, peak: float | None) -> float | None:
        """Model FLOPs utilisation of a step on GPUs of `peak` FLOP/s together."""
        return None if peak is None else self.flops(tokens, tiles) / (seconds * peak)
