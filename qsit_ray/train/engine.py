"""torch: the primary under DeepSpeed: one optimiser step, validation, checkpoints, export."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import torch
import torch.distributed as dist

from qsit_ray import artifacts
from qsit_ray.models import load
from qsit_ray.models.batch import batches, unpack
from qsit_ray.models.features import remember_features
from qsit_ray.models.loss import answer_loss
from qsit_ray.models.trainable import freeze
from qsit_ray.schedule import learning_rate
from qsit_ray.train.deepspeed_config import deepspeed_config
from qsit_ray.train.job import Consumed, Job
from qsit_ray.train.validation import Validation


class AnswerLoss(torch.nn.Module):
    """The model as DeepSpeed runs it: a batch in, (summed loss, answer tokens) out.

    DeepSpeed keeps count of micro-batches, and gathers partitioned weights, where its own forward
    is called; a call to the module behind its back would lose gradients at ZeRO stage 3.
    """

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        return answer_loss(self.model, batch)


class Engine:
    """One rank's model and optimiser. The process group must stand already (Ray Train's does)."""

    def __init__(self, job: Job, rank: int, world_size: int):
        import deepspeed

        config = job.config
        if not config.train.use_gpu:
            # Else DeepSpeed compiles a shared-memory collective on first use, for 25 s.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.settings = config.train
        self.rank, self.world_size = rank, world_size
        torch.manual_seed(config.seed)
        self.checkpoint = load.load(job.base, dtype=torch.float32)
        freeze(self.checkpoint.model, config.models.freeze_vision)
        if config.models.remember_features:
            remember_features(self.checkpoint.model, job.features)
        rows = batches(job.catalog, self.checkpoint.processor, config.models.max_length)
        self.validation = Validation.share(rows, rank, world_size, config.evaluate.batch_size)
        deepspeed.init_distributed(dist_init_required=False)
        self.deepspeed, *_ = deepspeed.initialize(
            model=AnswerLoss(self.checkpoint.model),
            model_parameters=[p for p in self.checkpoint.model.parameters() if p.requires_grad],
            config=deepspeed_config(config.train),
        )
        self.device = self.deepspeed.device

    @property
    def accumulation(self) -> int:
        return self.deepspeed.gradient_accumulation_steps()

    def step(self, micro_batches: list[bytes], epochs_done: float) -> None:
        """One optimiser step over this rank's micro-batches of a global batch.

        The loss is the sum over the global batch divided by its answer tokens, over ranks and
        accumulation: a mean of the ranks' means would weigh short answers more.

        Raises FloatingPointError when the loss is not finite.
        """
        training = self.settings.training
        rate = learning_rate(
            epochs_done / self.settings.epochs,
            training.learning_rate,
            training.warmup,
            training.final_share,
        )
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = rate
        unpacked = [
            {name: tensor.to(self.device) for name, tensor in unpack(data).items()}
            for data in micro_batches
        ]
        tokens = torch.tensor(
            sum(int((batch["labels"] >= 0).sum()) for batch in unpacked), device=self.device
        )
        dist.all_reduce(tokens)
        self.deepspeed.train()
        for batch in unpacked:
            nll, _ = self.deepspeed(batch)
            # DeepSpeed takes the mean over ranks and accumulation; undo both.
            loss = nll * (self.world_size * self.accumulation / tokens)
            if not math.isfinite(loss.item()):
                raise FloatingPointError(
                    f"the loss is {loss.item()} after {epochs_done:.3f} epochs"
                )
            self.deepspeed.backward(loss)
            self.deepspeed.step()

    def sum_over_ranks(self, consumed: Consumed) -> Consumed:
        """Checksums added modulo 2^64 (int64 addition wraps the same way) and rows added."""
        signed = consumed.checksum - 2**64 if consumed.checksum >= 2**63 else consumed.checksum
        both = torch.tensor([signed, consumed.rows], dtype=torch.int64, device=self.device)
        dist.all_reduce(both)
        checksum, rows = both.tolist()
        return Consumed(checksum % 2**64, rows)

    def validate(self) -> tuple[float, float]:
        """(L_S, L_I) on validation rows; the same on every rank."""
        return self.validation.losses(self.deepspeed, self.device)

    def save(self, folder: str, tag: str) -> None:
        self.deepspeed.save_checkpoint(folder, tag=tag)

    def load(self, folder: str, tag: str) -> None:
        """Raises RuntimeError when the checkpoint can't be loaded; never starts anew silently."""
        path, _ = self.deepspeed.load_checkpoint(folder, tag=tag)
        if path is None:
            raise RuntimeError(f"{folder}: no DeepSpeed checkpoint {tag!r} in it")
        gc.collect()

    def export(self, folder: Path) -> None:
        """Write a Hugging Face folder (safetensors); every rank calls, rank 0 writes."""
        state = None
        if self.settings.zero_stage == 3:
            gathered = self.deepspeed._zero3_consolidated_16bit_state_dict()
            state = {name.removeprefix("model."): v for name, v in (gathered or {}).items()}
        if self.rank == 0:
            with artifacts.atomic(folder) as temporary:
                load.save(
                    self.checkpoint.model, self.checkpoint.processor, temporary, state_dict=state
                )
        dist.barrier()
