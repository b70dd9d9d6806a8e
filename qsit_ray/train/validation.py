"""torch: validation losses of one rank's share, added up over the ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist

from qsit_ray.mixture import PADDING
from qsit_ray.models.batch import Batches
from qsit_ray.models.loss import tensors

TASKS = ("scoring", "interpreting")


@dataclass(frozen=True)
class Validation:
    """This rank's validation batches by task; every rank has equally many."""

    batches: dict[str, list[dict[str, torch.Tensor]]]

    @classmethod
    def share(cls, rows: Batches, rank: int, world_size: int, batch_size: int) -> Validation:
        """Every `world_size`-th row of each task, from `rank` on."""
        shares = {}
        for task in TASKS:
            all_rows = rows.catalog.validation(task)
            own = all_rows[rank::world_size]
            # ZeRO stage 3 gathers weights in each forward: ranks must make as many of them.
            count = math.ceil(math.ceil(len(all_rows) / world_size) / batch_size)
            cuts = [own[i * batch_size : (i + 1) * batch_size] for i in range(count)]
            shares[task] = [
                tensors(rows.of_rows(cut) if cut else rows.of([PADDING])) for cut in cuts
            ]
        return cls(shares)

    @torch.no_grad()
    def losses(self, model: torch.nn.Module, device: torch.device) -> tuple[float, float]:
        """(L_S, L_I): mean negative log-likelihood in nats over all ranks' answer tokens.

        `model` takes a batch to (summed loss, answer tokens).
        """
        model.eval()
        sums = torch.zeros(len(TASKS), 2, dtype=torch.float64, device=device)
        for index, task in enumerate(TASKS):
            for batch in self.batches[task]:
                nll, tokens = model({name: v.to(device) for name, v in batch.items()})
                sums[index] += torch.tensor([nll.item(), tokens], device=device)
        dist.all_reduce(sums)
        means = (sums[:, 0] / sums[:, 1]).tolist()
        return means[0], means[1]
