"""torch: the primary under DeepSpeed: one optimiser step, validation, checkpoints, export."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from qsit_ray import artifacts
from qsit_ray.config.config import Levels
from qsit_ray.errors import InputError
from qsit_ray.models import load, profiles
from qsit_ray.models.batch import Batches, on_device, unpack
from qsit_ray.models.features import remember_features
from qsit_ray.models.loss import HARD, objective, row_losses, units
from qsit_ray.models.trainable import merged, parameter_groups, prepare, set_rates
from qsit_ray.models.work import work_of
from qsit_ray.schedule import share_of_peak
from qsit_ray.step_lines import GIB, Work, peak_flops
from qsit_ray.train.bad_loss import BadLoss
from qsit_ray.train.deepspeed_config import Settings, deepspeed_config
from qsit_ray.train.elastic import TAG, UNIVERSAL, loads_universal
from qsit_ray.train.ranks import gather
from qsit_ray.train.state import Job, Measured
from qsit_ray.train.validation import Validation

MOST_ENCODERS = 8
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Rows(torch.nn.Module):
    """The model as DeepSpeed runs it: a batch in, out what `read` finds with the model; each row's
    summed loss and its answer tokens by default.

    DeepSpeed counts micro-batches and gathers partitioned weights in its own forward. A direct call
    of the module would lose gradients at ZeRO stage 3.
    """

    def __init__(self, model: Any, levels: Levels = HARD):
        super().__init__()
        self.model = model
        self.levels = levels

    def forward(self, batch: dict[str, Tensor], read: Callable[..., Any] | None = None) -> Any:
        if read is None:
            return row_losses(self.model, batch, self.levels)
        return read(self.model, batch)


@dataclass(frozen=True)
class Step:
    """One optimiser step. `loss`: of the global batch, in nats a token; `losses`: by domain, None
    without a row. `gradient_norm`: before clipping, None where DeepSpeed computes none."""

    loss: float
    losses: list[float | None]
    gradient_norm: float | None
    rate: float


class Engine:
    """One rank's model and optimiser. Needs an initialised process group, such as Ray Train's."""

    def __init__(self, job: Job, rank: int, world_size: int):
        import deepspeed

        config = job.config
        if not config.train.use_gpu:
            # Otherwise DeepSpeed compiles a shared-memory collective on first use, for 25 s.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(dist_init_required=False)
        self.settings, self.weighting = config.train, config.loss
        self.prompts = config.prompts
        self.rank, self.world_size = rank, world_size
        settings = deepspeed_config(config.train)
        dtype = TYPES[config.train.precision]
        kind = load.attention(config.train.use_gpu, dtype)
        self.checkpoint = load_base(job.base, dtype, kind, settings)
        # Here, because loading draws more numbers at one ZeRO stage than at another, and adapters
        # begin with random ones.
        torch.manual_seed(config.seed)
        prepare(self.checkpoint.model, config.models.freeze_vision, config.train)
        if config.models.remember_features:
            remember_features(self.checkpoint.model, job.run.features)
        self.rows = Batches(
            job.run.catalog,
            self.checkpoint.processor,
            config.models.max_length,
            keep=config.models.remember_features,
            opinions=config.opinions,
        )
        tokens = config.evaluate.batch_tokens
        self.validation = Validation(
            self.rows,
            config.tasks,
            rank,
            world_size,
            tokens,
            encoders(world_size),
            config.prompts.profile,
        )
        self.deepspeed, *_ = deepspeed.initialize(
            model=Rows(self.checkpoint.model, config.levels),
            model_parameters=parameter_groups(self.checkpoint.model, config.train),
            config=settings,
        )
        self.device = self.deepspeed.device

    def step(
        self, micro_batches: list[bytes], domains: list[NDArray[np.int64]], epochs_done: float
    ) -> Step:
        """One optimiser step over this rank's micro-batches of a global batch, as many as on each
        other rank. `domains`: the place of each row's pool, by micro-batch.

        The gradient is that of the global batch's mean over the units of `loss` (tokens, rows or
        micro-batches), over ranks and accumulation. The loss that is returned is the mean over
        answer tokens in any case.

        Raises BadLoss on every rank alike when the loss or the gradient's norm is not finite, or
        the loss is over `train.loss_limit`; the weights must not be used any more.
        """
        training, epochs = self.settings.training, self.settings.epochs
        share = share_of_peak(
            epochs_done,
            epochs if self.settings.schedule == "cosine" else None,
            training.warmup,
            training.final_share,
        )
        set_rates(self.deepspeed.optimizer.param_groups, share)
        unpacked = [unpack(data) for data in micro_batches]
        counts = [int((batch["labels"] >= 0).sum()) for batch in unpacked]
        parts = sum(units(batch["labels"], self.weighting) for batch in unpacked)
        totals = torch.tensor([sum(counts), parts], device=self.device)
        dist.all_reduce(totals)
        tokens, parts_of_all = totals
        self.deepspeed.train()
        sums = torch.zeros(len(unpacked), device=self.device)
        by_domain = torch.zeros(2, len(self.rows.catalog.sizes), device=self.device)
        for index, batch in enumerate(on_device(unpacked, self.device)):
            last = index + 1 == len(unpacked)
            self.deepspeed.set_gradient_accumulation_boundary(last)
            losses, labelled = self.deepspeed(batch)
            sums[index] = losses.detach().sum()
            domain = torch.from_numpy(domains[index]).to(self.device)
            of_rows = torch.stack([losses.detach(), labelled.to(losses.dtype)])
            by_domain.index_add_(1, domain, of_rows.to(by_domain.dtype))
            # DeepSpeed takes the mean over ranks; undo it.
            whole = objective(losses, labelled, self.weighting)
            scaled = whole * (self.world_size / parts_of_all)
            self.deepspeed.backward(scaled, scale_wrt_gas=False)
            if last:
                total = sums.sum()
                dist.all_reduce(total)
                loss = (total / tokens).item()
                if not loss <= self.settings.loss_limit:
                    raise BadLoss(loss, self._suspects(sums, counts))
            self.deepspeed.step()
        norm = self.deepspeed.get_global_grad_norm()
        if norm is not None and not math.isfinite(norm):
            raise BadLoss(math.nan, range(len(unpacked)))
        dist.all_reduce(by_domain)
        return Step(
            loss=loss,
            losses=[t / n if n else None for t, n in zip(*by_domain.tolist(), strict=True)],
            gradient_norm=None if norm is None else float(norm),
            rate=share * training.learning_rate,
        )

    def work(self) -> Work:
        """The weights that a step's FLOPs follow from."""
        return work_of(self.checkpoint.model)

    def peak_memory(self) -> float | None:
        """GiB at most since the last call on this rank's GPU; None on a CPU."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self.device) / GIB
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak

    def peak_flops(self) -> float | None:
        """Dense bf16 FLOP/s of all ranks' GPUs; None where it is not known."""
        if self.device.type != "cuda":
            return None
        peak = peak_flops(torch.cuda.get_device_name(self.device))
        return None if peak is None else peak * self.world_size

    def unpacked(self, data: bytes) -> dict[str, Tensor]:
        """A micro-batch on this rank's device."""
        return {name: tensor.to(self.device) for name, tensor in unpack(data).items()}

    def _suspects(self, sums: Tensor, counts: list[int]) -> list[int]:
        limit = self.settings.loss_limit
        own = [total / max(count, 1) for total, count in zip(sums.tolist(), counts, strict=True)]
        return [index for index, loss in enumerate(own) if not loss <= limit]

    def validate(self) -> Measured:
        """Losses and scores on validation rows; the same on every rank."""
        return self.validation.measure(self.deepspeed, self.device)

    def save(self, folder: Path) -> None:
        """Write this rank's part: DeepSpeed's files and the state of its random numbers."""
        self.deepspeed.save_checkpoint(str(folder), tag=TAG)
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state()
        save_file(states, folder / f"random_{self.rank}.safetensors")

    def converts(self, world_size: int) -> bool:
        """Whether a checkpoint of `world_size` ranks must be converted before `load`: without ZeRO
        each rank has all of it."""
        return self.settings.zero_stage > 0 and world_size != self.world_size

    def load(self, folder: Path, world_size: int) -> None:
        """Load a checkpoint that `world_size` ranks wrote. For another number of ranks than ours it
        must have been converted (see `elastic`), and random numbers start from the seed again.

        Raises RuntimeError when the checkpoint can't be loaded.
        """
        if self.converts(world_size):
            with loads_universal(self.deepspeed):
                path, _ = self.deepspeed.load_checkpoint(str(folder), tag=UNIVERSAL)
        else:
            path, _ = self.deepspeed.load_checkpoint(str(folder), tag=TAG)
        if path is None:
            raise RuntimeError(f"{folder}: no DeepSpeed checkpoint in it")
        if world_size == self.world_size:
            states = load_file(folder / f"random_{self.rank}.safetensors")
            torch.set_rng_state(states["cpu"])
            if "cuda" in states:
                torch.cuda.set_rng_state(states["cuda"])
        gc.collect()

    def export(self, folder: Path) -> None:
        """Write a Hugging Face folder (safetensors); every rank calls, rank 0 writes."""
        model, lora = self.checkpoint.model, self.settings.lora
        state = None
        if self.settings.zero_stage == 3:
            gathered = self.deepspeed._zero3_consolidated_16bit_state_dict()
            state = {name.removeprefix("model."): v for name, v in (gathered or {}).items()}
        elif lora is not None:
            state = model.state_dict()
        if self.rank == 0:
            if lora is not None:
                state = merged(state or {}, lora)
            with artifacts.atomic(folder) as temporary:
                load.save(model, self.checkpoint.processor, temporary, state_dict=state)
                profiles.write(temporary, self.prompts)
        dist.barrier()


def encoders(world_size: int) -> int:
    """Threads that a rank encodes with while it validates: its share of the machine's CPUs but one,
    since no training rows are waited for then."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    return max(0, min(MOST_ENCODERS, len(os.sched_getaffinity(0)) // ranks - 1))


def load_base(base: str, dtype: torch.dtype, attention: str, settings: Settings) -> load.Checkpoint:
    """The base checkpoint; at ZeRO stage 3 each rank holds only its own part of it.

    Raises InputError on every rank when one of them finds that it is not sound.
    """
    if settings["zero_optimization"]["stage"] < 3:
        return load.load(base, dtype, attention)
    # A rank sees a weight that is not finite in its own part alone; all ranks must end.
    checkpoint, mistake = None, None
    try:
        checkpoint = load.load(base, dtype, attention, _partitioning(settings))
    except InputError as error:
        mistake = str(error)
    found = [each for each in gather(mistake) if each is not None]
    if checkpoint is None or found:
        raise InputError(found[0])
    # On this path transformers also keeps renamings that no weight needed, and would undo them in
    # the exported model's names.
    model = checkpoint.model
    model._weight_conversions = [c for c in model._weight_conversions if c.was_used()]
    return checkpoint


@contextmanager
def _partitioning(settings: Settings) -> Iterator[None]:
    """transformers loads a model in this context in parts, one for each rank."""
    from transformers.integrations import HfDeepSpeedConfig

    partitioned = HfDeepSpeedConfig(settings)  # transformers uses it while this object exists
    yield
    del partitioned
