"""torch: the largest batches before the first step of a training, without a trace in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from qsit_ray.config.train import Train
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError
from qsit_ray.models.batch import pack
from qsit_ray.models.trainable import set_rates
from qsit_ray.train.state import Job

if TYPE_CHECKING:
    from qsit_ray.train.engine import Engine

STEPS = 2
"""The optimiser's states appear in the first step; the second has them beside its activations."""

NO_MEMORY = "can't allocate memory"
"""What torch says where a CPU has too little."""


def rehearse(engine: Engine, job: Job) -> None:
    """One validation batch of each kind and `STEPS` training steps, with the longest rows.

    The steps' losses count zero times at a rate of zero: weights and moments keep their values, and
    what counts steps is set back. So a training goes on as if it had not been rehearsed. Rows whose
    loss is not finite are left to the training, which names them.

    Raises InputError with the settings to lower where a batch does not fit into memory.
    """
    with _fits("validation", "evaluate.batch_tokens"), _no_trace(engine.deepspeed):
        engine.validation.measure(engine.deepspeed, engine.device, most=1)
    lower = "train.micro_batch, train.micro_tokens or models.max_length"
    longest = longest_rows(read_tokens(job.run, "primary").tokens, job.config.train)
    data = pack(engine.rows.of(longest))
    with _fits("training", lower), _no_trace(engine.deepspeed):
        _train(engine, data)


def longest_rows(tokens: NDArray[np.int64], train: Train) -> list[int]:
    """The training rows of the most tokens, text and image, as many as one micro-batch takes."""
    count = train.rows_at_once(int(tokens.max()))
    return np.argsort(-tokens, kind="stable")[:count].tolist()


def _train(engine: Engine, data: bytes) -> None:
    with torch.no_grad():
        loss = engine.deepspeed(engine.unpacked(data))[0].sum()
    dist.all_reduce(loss)
    if not math.isfinite(loss.item()):
        return
    set_rates(engine.deepspeed.optimizer.param_groups, 0.0)
    engine.deepspeed.train()
    for last in STEPS * (False, True):
        engine.deepspeed.set_gradient_accumulation_boundary(last)
        nothing = engine.deepspeed(engine.unpacked(data))[0].sum() * 0.0
        engine.deepspeed.backward(nothing, scale_wrt_gas=False)
        engine.deepspeed.step()


@contextmanager
def _no_trace(deepspeed: Any) -> Iterator[None]:
    """The optimiser's step numbers, DeepSpeed's counters and the random numbers as before."""
    names = ("global_steps", "global_samples", "micro_steps", "skipped_steps")
    counters = {name: getattr(deepspeed, name) for name in names}
    state = deepspeed.basic_optimizer.state
    steps = {weights: _copy(kept.get("step")) for weights, kept in state.items()}
    devices = [deepspeed.device] if deepspeed.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
    for name, value in counters.items():
        setattr(deepspeed, name, value)
    for weights in list(state):
        if weights in steps:
            state[weights]["step"] = steps[weights]
        else:
            del state[weights]  # made again in the first step


def _copy(step: Any) -> Any:
    return step.clone() if isinstance(step, torch.Tensor) else step


@contextmanager
def _fits(what: str, lower: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError among them
        if not isinstance(error, torch.OutOfMemoryError) and NO_MEMORY not in str(error):
            raise
        first = str(error).partition("\n")[0]
        raise InputError(
            f"the longest rows of {what} do not fit into memory: lower {lower}; "
            f"`qsit train plan` estimates what fits ({first})"
        ) from None
