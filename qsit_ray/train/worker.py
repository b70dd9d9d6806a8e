"""rim: what each Ray Train worker runs: epochs of DeepSpeed steps over the planned rows."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train.collective import barrier

from qsit_ray import artifacts
from qsit_ray.data.source import NAMESPACE, Layout
from qsit_ray.mixture import checksum
from qsit_ray.train.checkpoint import Commit
from qsit_ray.train.job import Consumed, Job, epoch_line

TAG = "deepspeed"


def train_loop(job: Job) -> None:
    """Train the epochs that the last checkpoint does not hold yet, then export the model."""
    from qsit_ray.train.engine import Engine

    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    engine = Engine(job, rank, world_size)
    meta = _restore(engine, job, rank)
    settings = job.config.train
    layout = Layout(
        job.catalog, job.config.seed, settings.training.batch_size, world_size, settings.micro_batch
    )
    controller = ray.get_actor(job.controller, namespace=NAMESPACE)
    progress = ray.get_actor(job.progress, namespace=NAMESPACE)
    dataset = ray.train.get_dataset_shard("train")
    for epoch in range(len(meta["lines"]), settings.epochs):
        if rank == 0:
            ray.get(controller.begin.remote(meta["controller"]))
        barrier()  # no rank starts the epoch's Dataset before the actor stands at its plan
        plan = layout.plan(ray.get(controller.mixture.remote(epoch)), epoch)
        began = time.monotonic()
        consumed = Consumed()
        stall = 0.0
        micro_batches = iter(dataset.iter_batches(batch_size=1, batch_format="numpy"))
        for step in range(plan.steps):
            waiting = time.monotonic()
            group = [next(micro_batches) for _ in range(engine.accumulation)]
            stall += time.monotonic() - waiting
            _count(group, step, consumed)
            engine.step([row["batch"][0] for row in group], (epoch + (step + 1) / plan.steps))
            if rank == 0:
                done = sum(line["rows_trained"] for line in meta["lines"])
                here = (step + 1) * settings.training.batch_size
                ahead = (settings.epochs - epoch) * len(plan.rows)
                progress.show.remote(min(done + here, done + ahead), done + ahead)
        next(micro_batches, None)  # lets the Dataset finish this execution
        trained = time.monotonic()
        consumed = engine.sum_over_ranks(consumed)
        losses = engine.validate()
        timing = {
            "train_seconds": round(trained - began, 3),
            "stall_seconds": round(stall, 3),
            "validation_seconds": round(time.monotonic() - trained, 3),
        }
        if rank == 0:
            # The state is sent once more: an actor that was restarted meanwhile knows nothing.
            controller.begin.remote(meta["controller"])
            decision = ray.get(controller.observe.remote(epoch, *losses))
            last = epoch == settings.epochs - 1
            line = epoch_line(plan, decision, job.reference_loss_ratio, consumed, timing, last)
            meta = {
                "lines": [*meta["lines"], line],
                "controller": ray.get(controller.state.remote()),
            }
        else:
            meta = {**meta, "lines": [*meta["lines"], None]}
        _commit(engine, job, meta, epoch, rank)
    engine.export(job.model_folder)


def _count(group: list[dict[str, Any]], step: int, consumed: Consumed) -> None:
    """Add this rank's rows of a global step to what it consumed."""
    for micro in group:
        if micro["step"][0] != step:
            raise RuntimeError(f"step {step}: the Dataset served rows of step {micro['step'][0]}")
        rows = np.asarray(micro["rows"][0], dtype=np.int64)
        rows = rows[rows >= 0]
        consumed.checksum = (consumed.checksum + checksum(np.full_like(rows, step), rows)) % 2**64
        consumed.rows += len(rows)


def _commit(engine: Any, job: Job, meta: dict[str, Any], epoch: int, rank: int) -> None:
    """Write a checkpoint of the state after `epoch`, and note it once every rank has its part."""
    name = f"epoch_{epoch + 1:04d}_step_{0:06d}_{job.session[-8:]}"
    line = meta["lines"][-1] or {}
    metrics = {key: line[key] for key in ("epoch", "loss_scoring", "loss_interpreting") if line}
    with tempfile.TemporaryDirectory() as folder:
        engine.save(folder, TAG)
        if rank == 0:
            (Path(folder) / "meta.json").write_text(json.dumps(meta))
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=name,
        )
    barrier()  # `report` returns when this rank's part is written
    if rank == 0:
        loss = (line["loss_scoring"] + line["loss_interpreting"]) / 2
        job.checkpoints.commit(Commit(name, epoch + 1, 0, loss), job.session)
        artifacts.write_jsonl(job.epochs_file, meta["lines"])


def _restore(engine: Any, job: Job, rank: int) -> dict[str, Any]:
    latest = job.checkpoints.latest()
    if latest is None:
        return {"lines": [], "controller": {"decisions": []}}
    _, folder = latest
    meta = artifacts.read_json(folder / "meta.json")
    engine.load(str(folder), TAG)
    if rank == 0:
        job.checkpoints.tidy()
        # A run that died between the commit and this file has one line too few.
        artifacts.write_jsonl(job.epochs_file, meta["lines"])
    return meta
