"""torch: one training three ways: as a trial or the primary of this package trains it, by
transformers' Trainer, and by a plain loop over batches that lie ready in memory.

All three take the same rows in the same order, the same optimiser, rates and clipping, and the loss
over answer tokens. Functions take and return JSON (`benchmarks.pairs.fresh`).
"""

from __future__ import annotations

import os
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.run_config import opened

Outcome = dict[str, Any]
"""`seconds` of each optimiser step, `start`, those before the first, `losses` of each step or group
of `logged` steps, `memory`: GiB at most. Of the plain loop also `cpu`, rank 0's seconds of each
step."""


def ours(run: str, rows: int, epochs: int) -> Outcome:
    """A trial of the search, without its last evaluation."""
    from qsit_ray.search.training import Bench, ProxyTraining

    bench = Bench(_task(run))
    began = time.perf_counter()
    training = ProxyTraining(bench, Mixture.of(rows, rows, rows), 0)
    start = time.perf_counter() - began
    for _ in range(epochs):
        training.advance()
    lines = training.lines
    return _outcome(start, [line.seconds for line in lines], [line.loss for line in lines])


def by_trainer(run: str, rows: int, epochs: int, logged: int, workers: int) -> Outcome:
    """transformers' Trainer, whose collator calls the processor in `workers` processes of its own;
    of several ranks each takes its part of a global batch."""
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import LlavaOnevisionForConditionalGeneration, Trainer, TrainingArguments
    from transformers.trainer_callback import TrainerCallback

    from qsit_ray.models.load import load_processor
    from qsit_ray.models.trainable import freeze

    folder, config = RunFolder(Path(run)), opened(RunFolder(Path(run)))
    base, settings = config.models.primary, config.search.training
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    freeze(model, config.models.freeze_vision)
    order = np.concatenate(_steps(config, folder, rows, epochs)).tolist()
    optimizer, schedule = _optimizer(model, config, len(order) // settings.batch_size)

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.times.append(time.perf_counter())

    clock = Clock()
    trainer = InOrder(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder.path / "trainer"),
            per_device_train_batch_size=settings.batch_size // ranks,
            num_train_epochs=1,
            max_grad_norm=settings.clip,
            logging_steps=logged,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            ddp_backend="gloo" if ranks > 1 else None,
            remove_unused_columns=False,
            dataloader_num_workers=workers,
            dataloader_pin_memory=False,
        ),
        train_dataset=_conversations(folder, order),
        data_collator=Collator(load_processor(base)),
        optimizers=(optimizer, schedule),
        callbacks=[clock],
    )
    began = time.perf_counter()
    trainer.train()
    # Its first step begins with the loop's preparation, as a user waits for it.
    seconds = [after - before for before, after in pairwise([began, *clock.times])]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return _outcome(0.0, seconds, losses)


def plain(run: str, rows: int, epochs: int) -> Outcome:
    """The limit: nothing but forward, backward and optimiser, over batches and tower's features
    that were made before; of several ranks, under torch's DistributedDataParallel."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from qsit_ray.models.loss import objective, tensors
    from qsit_ray.search.training import Bench
    from qsit_ray.train.engine import Rows

    ranks, rank = (int(os.environ.get(name, d)) for name, d in (("WORLD_SIZE", "1"), ("RANK", "0")))
    bench = Bench(_task(run))
    config = opened(RunFolder(Path(run)))
    steps = _steps(config, bench.run, rows, epochs)
    share = config.search.training.batch_size // ranks
    batches: list[list[dict[str, Any]]] = []
    for step in steps:
        own = bench.micro_batches(step[rank * share : (rank + 1) * share])
        batches.append([tensors(bench.batches.of(part.tolist())) for part in own])
    model: Any = Rows(bench.model)
    if bench.keep:  # a forward computes the features, which are kept
        with torch.no_grad():
            for batch in (part for parts in batches for part in parts):
                model(batch)
    if ranks > 1:
        dist.init_process_group("gloo")
        model = DistributedDataParallel(model)
    optimizer, schedule = _optimizer(bench.model, config, len(steps))
    model.train()
    clock, spent, losses = [time.perf_counter()], [time.process_time()], []
    for parts in batches:
        answers = sum(int((part["labels"][:, 1:] >= 0).sum()) for part in parts)
        whole = torch.tensor(float(answers))
        if ranks > 1:
            dist.all_reduce(whole)
        optimizer.zero_grad()
        loss = torch.zeros(())
        for part in parts:
            sums, counts = model(part)
            found = objective(sums, counts, "token_mean") / whole
            (found * ranks).backward()  # torch takes the mean over ranks
            loss += found.detach()
        torch.nn.utils.clip_grad_norm_(bench.model.parameters(), config.search.training.clip)
        optimizer.step()
        schedule.step()
        if ranks > 1:
            dist.all_reduce(loss)
        losses.append(float(loss))
        clock.append(time.perf_counter())
        spent.append(time.process_time())
    seconds, cpu = ([end - start for start, end in pairwise(each)] for each in (clock, spent))
    return {**_outcome(0.0, seconds, losses), "cpu": cpu}


class Collator:
    """Rows to a batch as the processor's documentation shows it: one call of texts and images, and
    labels on the answer."""

    def __init__(self, processor: Any):
        self.processor = processor
        self.processor.tokenizer.padding_side = "right"

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        from PIL import Image

        from qsit_ray.data.encode import AFTER, END, IGNORED

        tokenizer = self.processor.tokenizer
        texts, images, answers = [], [], []
        for row in rows:
            human, gpt = row["turns"]
            begin = f"<|im_start|>user\n{human}{END}\n<|im_start|>assistant\n"
            texts.append(f"{begin}{gpt}{END}{AFTER}")
            answers.append(len(tokenizer(f"{gpt}{END}", add_special_tokens=False)["input_ids"]))
            with Image.open(row["image"]) as image:
                images.append(image.convert("RGB"))
        batch = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
        labels = batch["input_ids"].new_full(batch["input_ids"].shape, IGNORED)
        after = len(tokenizer(AFTER, add_special_tokens=False)["input_ids"])
        for place, count in enumerate(answers):
            end = int(batch["attention_mask"][place].sum()) - after
            labels[place, end - count : end] = batch["input_ids"][place, end - count : end]
        return {**batch, "labels": labels}


def _conversations(folder: RunFolder, order: list[int]) -> list[dict[str, Any]]:
    """A row's image file and its two turns, of catalog rows."""
    from qsit_ray.data.catalog import open_catalog

    rows = open_catalog(folder.catalog).take(order)
    return [
        {
            "image": str(folder.catalog / row["images"][0]["path"]),
            "turns": [turn["value"] for turn in row["conversation"]],
        }
        for row in rows
    ]


def _task(run: str) -> Any:
    from qsit_ray.search.trials import Task

    folder = RunFolder(Path(run))
    config = opened(folder)
    return Task(
        folder, config, folder.path / "trial", lambda ratio: Mixture.of(1, 1, 1), "interpreting"
    )


def _steps(config: Config, folder: RunFolder, rows: int, epochs: int) -> list[Any]:
    """The catalog rows of each global batch, by the plans of a trial with seed 0."""
    from qsit_ray.data.catalog import open_catalog

    sizes, batch = open_catalog(folder.catalog).sizes, config.search.training.batch_size
    plans = [
        plan_epoch(Mixture.of(rows, rows, rows), sizes, epoch, 0, batch) for epoch in range(epochs)
    ]
    return [plan.step_rows(step) for plan in plans for step in range(plan.steps)]


def _optimizer(model: Any, config: Config, steps: int) -> tuple[Any, Any]:
    """A trial's optimiser and its schedule."""
    import torch

    from qsit_ray.schedule import learning_rate

    training = config.search.training
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: learning_rate(
            min(1.0, (step + 1) / steps), 1.0, training.warmup, training.final_share
        ),
    )
    return optimizer, schedule


def _outcome(start: float, seconds: list[float], losses: list[float]) -> Outcome:
    # Not ru_maxrss, in which a new process begins with that of its parent.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    memory = int(peak) / 2**20
    return {"start": start, "seconds": seconds, "losses": losses, "memory": memory}
