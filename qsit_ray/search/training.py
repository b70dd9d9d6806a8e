"""torch: one proxy training: on a mixture with a seed, until its validation loss plateaus."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qsit_ray import artifacts
from qsit_ray.ahead import ahead
from qsit_ray.data.encode import Encoded, Picture, collate
from qsit_ray.data.micro_batches import Bounds, micro_batches
from qsit_ray.data.tokens import RowTokens, read_tokens
from qsit_ray.evaluation import correlation
from qsit_ray.losses import Losses, flat, unkeyed
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.models import choice, load, score
from qsit_ray.models.base import base_checkpoint
from qsit_ray.models.batch import Batches, on_device
from qsit_ray.models.budget import encoded
from qsit_ray.models.features import remember_features
from qsit_ray.models.loss import evaluate_loss, objective, row_losses, tensors, units
from qsit_ray.models.trainable import freeze, trained_weights
from qsit_ray.schedule import learning_rate
from qsit_ray.search.trials import Latest, Look, Task, TrialMetrics, watched_loss
from qsit_ray.step_lines import StepLine, StepLog

Part = tuple[np.ndarray, Encoded]
"""Catalog rows that go through the model at once, and their padded batch."""


class Bench:
    """Shared by all trials of one process: model, base weights, rows, validation data."""

    def __init__(self, task: Task):
        self.run = task.run
        self.search, models = task.config.search, task.config.models
        self.weighting, self.tasks = task.config.loss, task.config.tasks
        self.batch_tokens = task.config.evaluate.batch_tokens
        self.keep = models.remember_features
        self.device = "cuda" if self.search.gpus_per_trial else "cpu"
        # The type of the arithmetic; the weights are float32 in both (see `autocast`).
        dtype = torch.bfloat16 if self.search.precision == "bf16" else torch.float32
        self.checkpoint = load.load(
            base_checkpoint(task.config, "proxy"),
            torch.float32,
            load.attention(self.search.gpus_per_trial > 0, dtype),
        )
        self.model = self.checkpoint.model.to(self.device)
        freeze(self.model, models.freeze_vision)
        if self.search.activation_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        if self.keep:
            remember_features(self.model, task.run.features)
        self.base = {name: _smallest(w) for name, w in trained_weights(self.model).items()}
        processor = self.checkpoint.processor
        self.levels, self.profile = task.config.levels, task.config.prompts.profile
        self.batches = Batches(
            task.run.catalog,
            processor,
            models.max_length,
            self.keep,
            task.config.opinions,
        )
        self.catalog = self.batches.catalog
        self.images = self.catalog.images("validation")
        self.questions = self.catalog.questions("validation")
        self.pixels: dict[str, Picture] | None = {} if self.keep else None
        self._validation: dict[str, list[dict[str, torch.Tensor]]] = {}

    def validation(self, domain: str) -> Iterable[dict[str, torch.Tensor]]:
        """Batches of the domain's validation rows; kept where rows are kept."""
        if domain in self._validation:
            return self._validation[domain]
        rows = self.catalog.validation(domain)
        lengths = [self.batches.encoder.row_length(row) for row in rows]
        encode = self.batches.encoder.encode
        found = (
            tensors(collate(part, self.batches.pad_token), self.device)
            for _, part in encoded(rows, lengths, encode, self.batch_tokens, self.threads)
        )
        if not self.keep:
            return found
        self._validation[domain] = list(found)
        return self._validation[domain]

    @property
    def threads(self) -> int:
        """Threads that encode while the trial computes: one for each of its CPUs but the first."""
        return int(self.search.cpus_per_trial) - 1

    @cached_property
    def counted(self) -> RowTokens:
        return read_tokens(self.run, "proxy")

    def micro_batches(self, rows: np.ndarray) -> list[np.ndarray]:
        """The rows of a global batch in parts that go through the model at once."""
        most, tokens = self.search.micro_batch, self.search.micro_tokens
        if most is None and tokens is None:
            return [rows]
        bounds = Bounds(most or len(rows), tokens)
        divided = micro_batches(rows, self.counted.tokens, self.counted.tiles, 1, bounds)
        return [alone for (alone,) in divided]

    def encoded(self, steps: Iterable[np.ndarray]) -> Iterator[list[Part]]:
        """The micro-batches of each global batch, encoded one global batch ahead."""
        return ahead(map(self.micro_batches, steps), self._part, self.threads)

    def _part(self, rows: np.ndarray) -> Part:
        return rows, self.batches.of(rows.tolist())

    def restore(self) -> None:
        self.model.load_state_dict(self.base, strict=False)

    def autocast(self) -> torch.autocast:
        bf16 = self.search.precision == "bf16"
        return torch.autocast(self.device, torch.bfloat16, enabled=bf16)


def _smallest(weights: torch.Tensor) -> torch.Tensor:
    """A copy, in bf16 where that is exact: that of weights which were stored in bf16."""
    half = weights.bfloat16()
    return half if torch.equal(half.to(weights.dtype), weights) else weights.clone()


@dataclass
class Evaluation:
    """Validation losses after `step`, in nats per answer token."""

    step: int
    losses: Losses


class ProxyTraining:
    """A proxy trained on `mixture` from the base weights until its validation loss plateaus."""

    def __init__(self, bench: Bench, mixture: Mixture, seed: int):
        self.bench = bench
        self.mixture = mixture
        self.seed = seed
        self.search = bench.search
        bench.restore()
        torch.manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            [p for p in bench.model.parameters() if p.requires_grad],
            lr=self.search.training.learning_rate,
            weight_decay=self.search.training.weight_decay,
            fused=bench.device == "cuda",
        )
        self.max_steps = self.search.longest(mixture.total)
        self.evaluations: list[Evaluation] = []
        self.best: tuple[Evaluation, dict[str, torch.Tensor]] | None = None
        self.steps = 0
        self.lines: list[StepLine] = []
        self._parts = bench.encoded(self._stream())
        first = self._plan(0)
        self.plan_sha256, self.epoch_steps = first.sha256, first.steps

    def advance(self) -> bool:
        """Train up to the next evaluation; True when the training has ended."""
        for _ in range(min(self.search.evaluate_every, self.max_steps - self.steps)):
            began = time.monotonic()
            self._step(next(self._parts), began)
        with self.bench.autocast():
            losses = {
                task: evaluate_loss(self.bench.model, self.bench.validation(task))
                for task in self.bench.tasks
            }
        if not all(map(math.isfinite, losses.values())):
            found = ", ".join(map(str, losses.values()))
            raise FloatingPointError(f"step {self.steps}: losses {found}")
        new = Evaluation(self.steps, losses)
        self.evaluations.append(new)
        if self.best is None or self._watched(new) < self._watched(self.best[0]):
            self.best = new, copy.deepcopy(trained_weights(self.bench.model))
        return self.plateaued or self.steps >= self.max_steps

    def latest(self) -> Latest:
        last = self.evaluations[-1]
        rows = last.step * self.search.training.batch_size
        return Latest(last.step, rows, last.losses)

    @property
    def plateaued(self) -> bool:
        """True when the last `patience` evaluations did not improve on the best before them."""
        patience = self.search.patience
        if patience is None:
            return False
        watched = [self._watched(evaluation) for evaluation in self.evaluations]
        old, new = watched[:-patience], watched[-patience:]
        return bool(old) and min(new) > min(old) - self.search.min_improvement

    def result(self) -> TrialMetrics:
        """Metrics of the best weights, which the model holds afterwards."""
        if self.best is None:
            raise RuntimeError("result() before the first evaluation")
        best, weights = self.best
        bench = self.bench
        bench.model.load_state_dict(weights, strict=False)
        return TrialMetrics(
            losses=best.losses,
            **self._benchmarks(),
            steps=self.steps,
            best_step=best.step,
            stopped="plateau" if self.plateaued else "max_steps",
            plan_sha256=self.plan_sha256,
            looks=tuple(
                Look(look.step / self.epoch_steps, look.losses) for look in self.evaluations
            ),
        )

    def _benchmarks(self) -> dict[str, float | None]:
        """What the weights score on the validation images and questions."""
        bench = self.bench
        if not bench.images:
            return dict.fromkeys(("accuracy", "probability", "srcc", "plcc"))
        images, folder = [row["image"] for row in bench.images], bench.catalog.folder
        tokens, cache, threads = bench.batch_tokens, bench.pixels, bench.threads
        with bench.autocast():
            logits = score.level_logits(
                bench.checkpoint,
                images,
                folder,
                profile=bench.profile,
                batch_tokens=tokens,
                cache=cache,
                threads=threads,
            )
            answers = choice.answer(
                bench.checkpoint,
                bench.questions,
                folder,
                profile=bench.profile,
                batch_tokens=tokens,
                cache=cache,
                threads=threads,
            )
        truth = [row["mos"] for row in bench.images]
        sets = [row.get("dataset") for row in bench.images]
        keys, scores = bench.profile.rank_key(logits), bench.profile.score(logits)
        srcc = correlation.mean_over_sets(correlation.srcc, truth, keys, sets)
        plcc = correlation.mean_over_sets(correlation.plcc, truth, scores, sets)
        return {
            "accuracy": float(np.mean([*map(choice.is_right, bench.questions, answers)])),
            "probability": float(
                np.mean([*map(choice.probability_of_right, bench.questions, answers)])
            ),
            "srcc": srcc if math.isfinite(srcc) else None,
            "plcc": plcc if math.isfinite(plcc) else None,
        }

    def snapshot(self) -> Callable[[Path], None]:
        """Writes the state of the training; after `load` the steps are the same bit for bit. On a
        GPU the state is copied to memory first, so that training may go on meanwhile."""
        state = self.optimizer.state_dict()["state"]
        best = self.evaluations.index(self.best[0]) if self.best else None
        # The best weights are the latest ones as long as the losses fall.
        apart = best is not None and best < len(self.evaluations) - 1
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "weights": trained_weights(self.bench.model),
            "best": self.best[1] if self.best and apart else {},
            "optimizer": {
                f"{i}.{name}": v for i, each in state.items() for name, v in each.items()
            },
            "random": {"torch": torch.get_rng_state()},
        }
        held = {
            f"{part}/{name}": value.cpu().contiguous()
            for part, named in parts.items()
            for name, value in named.items()
        }
        looks = {"looks": [flat(asdict(each)) for each in self.evaluations], "best": best}
        lines = [line.to_json() for line in self.lines]

        def write(folder: Path) -> None:
            save_file(held, folder / "training.safetensors")
            artifacts.write_json(folder / "training.json", looks)
            artifacts.write_jsonl(folder / "steps.jsonl", lines)

        return write

    def load(self, folder: Path) -> None:
        """Resume from a state that `snapshot` wrote. Raises InputError or OSError when it can't be
        read."""
        meta = artifacts.read_json(folder / "training.json")
        parts: dict[str, dict[str, torch.Tensor]] = {}
        device = str(self.bench.device)
        for key, value in load_file(folder / "training.safetensors", device=device).items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = value
        self.bench.model.load_state_dict(parts["weights"], strict=False)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts.get("optimizer", {}).items():
            number, _, field = name.partition(".")
            state.setdefault(int(number), {})[field] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(parts["random"]["torch"].cpu())
        self.evaluations = [Evaluation(**unkeyed(look)) for look in meta["looks"]]
        if meta["best"] is not None:
            best = parts.get("best") or parts["weights"]
            self.best = self.evaluations[meta["best"]], best
        self.steps = self.evaluations[-1].step if self.evaluations else 0
        self.lines = StepLog(folder / "steps.jsonl").lines()
        self._parts = self.bench.encoded(itertools.islice(self._stream(), self.steps, None))

    def _plan(self, epoch: int):
        return plan_epoch(
            self.mixture,
            self.bench.catalog.sizes,
            epoch,
            self.seed,
            self.search.training.batch_size,
        )

    def _stream(self) -> Iterator[np.ndarray]:
        for epoch in itertools.count():
            plan = self._plan(epoch)
            yield from (plan.step_rows(step) for step in range(plan.steps))

    def _step(self, parts: list[Part], began: float) -> None:
        """One optimiser step; `began`: before the wait for its batches."""
        training, stalled = self.search.training, time.monotonic() - began
        rate = learning_rate(
            (self.steps + 1) / self.max_steps,
            training.learning_rate,
            training.warmup,
            training.final_share,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        on_cpu = [tensors(part) for _, part in parts]
        whole = sum(units(batch["labels"], self.bench.weighting) for batch in on_cpu)
        self.bench.model.train()
        self.optimizer.zero_grad()
        pools = self.bench.catalog.sizes
        by_domain = torch.zeros(2, len(pools), device=self.bench.device)
        batches = on_device(on_cpu, self.bench.device)
        for (rows, _), batch in zip(parts, batches, strict=True):
            with self.bench.autocast():
                losses, answers = row_losses(self.bench.model, batch, self.bench.levels)
            (objective(losses, answers, self.bench.weighting) / whole).backward()
            domains = torch.from_numpy(self.bench.catalog.domains(rows)).to(by_domain.device)
            of_rows = torch.stack([losses.detach().float(), answers.float()])
            by_domain.index_add_(1, domains, of_rows)
        norm = torch.nn.utils.clip_grad_norm_(self.bench.model.parameters(), training.clip)
        self.optimizer.step()
        totals, answered = by_domain.tolist()
        loss = sum(totals) / sum(answered)
        every = np.sort(np.concatenate([rows for rows, _ in parts]))
        self.steps += 1
        if not math.isfinite(loss):
            raise FloatingPointError(f"step {self.steps}: loss is {loss}; rows {every.tolist()}")
        of_pools = {
            pool: total / count if count else None
            for pool, total, count in zip(pools, totals, answered, strict=True)
        }
        epoch, step = divmod(self.steps - 1, self.epoch_steps)
        self.lines.append(
            StepLine(
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                epoch=epoch,
                step=step,
                loss=loss,
                losses=of_pools,
                gradient_norm=float(norm),
                rate=rate,
                rows=len(every),
                tokens=int(self.bench.counted.tokens[every].sum()),
                seconds=round(time.monotonic() - began, 4),
                stall_seconds=round(stalled, 4),
                mfu=None,
                peak_memory_gib=None,
                ranks=1,
            )
        )

    def _watched(self, evaluation: Evaluation) -> float:
        return watched_loss(self.mixture, evaluation.losses)
