"""rim: the train stage: the controller actor, the resizing Dataset and the TorchTrainer."""

from __future__ import annotations

import threading
import uuid
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import ray

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import Config
from qsit_ray.controller import MixtureController, Rule
from qsit_ray.data.source import NAMESPACE, Layout, plan_dataset
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.terminal import Bar, Terminal
from qsit_ray.train.checkpoint import Checkpoints, check_standing
from qsit_ray.train.job import Job
from qsit_ray.train.worker import train_loop


class Progress:
    """Where the workers say how far they are."""

    def __init__(self) -> None:
        self.shown = (0, 0)

    def show(self, done: int, total: int) -> None:
        self.shown = done, total

    def read(self) -> tuple[int, int]:
        return self.shown


MixtureControllerActor = ray.remote(num_cpus=0, max_restarts=-1)(MixtureController)
ProgressActor = ray.remote(num_cpus=0, max_restarts=-1)(Progress)


def train_inputs(config: Config, run: RunFolder) -> dict[str, Any]:
    return {
        "train": config.train.model_dump(mode="json"),
        "models": config.models.model_dump(mode="json"),
        "base": identity(base_checkpoint(config, "primary")),
        "seed": config.seed,
        "mixture": artifacts.read_json(run.mixture),
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }


def train(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Train the primary at the mixture, remixed each epoch; write epochs.jsonl and the model.

    Raises InputError when there is no mixture yet.
    """
    if not run.mixture.exists():
        raise InputError(f"{run.mixture}: missing; the search comes first")
    inputs = train_inputs(config, run)
    if run.stands("train", inputs):
        return
    key = artifacts.digest(inputs)[:12]
    # Two runs may share a cluster, and a killed one's actors linger.
    session = f"{key}-{uuid.uuid4().hex[:8]}"
    checkpoints = Checkpoints(run.train / f"ray-{key}", config.train.checkpoints_kept)
    check_standing(run.train, run.epochs, checkpoints, inputs)
    checkpoints.claim(session, inputs)
    mixture, rule = artifacts.read_json(run.mixture), config.train.controller
    actors = [
        MixtureControllerActor.options(name=f"mixture-{session}", namespace=NAMESPACE).remote(
            Mixture(**mixture["rows"]),
            mixture["reference_loss_ratio"] if rule else None,
            Rule(**rule.model_dump()) if rule else Rule(),
        ),
        ProgressActor.options(name=f"progress-{session}", namespace=NAMESPACE).remote(),
    ]
    job = Job(
        config=config,
        catalog=run.catalog,
        features=run.features,
        base=base_checkpoint(config, "primary"),
        epochs_file=run.epochs,
        model_folder=run.model,
        reference_loss_ratio=mixture["reference_loss_ratio"],
        controller=f"mixture-{session}",
        progress=f"progress-{session}",
        checkpoints=checkpoints,
        session=session,
    )
    with run.stage("train", inputs) as cost, terminal.bar("Train the primary") as bar:
        trainer = _trainer(job)
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(actors[1], bar, ended), daemon=True)
        watcher.start()
        try:
            trainer.fit()
        finally:
            ended.set()
            watcher.join()
            for actor in actors:
                ray.kill(actor)
        lines = artifacts.read_jsonl(run.epochs)
        seconds = sum(
            v for line in lines for k, v in line["timing"].items() if k != "stall_seconds"
        )
        cost["device_seconds"] = seconds * config.train.workers


def encode(
    row: dict[str, Any], catalog: Path, base: str, max_length: int, keep: bool
) -> dict[str, Any]:
    """Decode, tokenise and pad one micro-batch of catalog rows."""
    from qsit_ray.models.batch import pack

    batch = _batches(catalog, base, max_length, keep).of(list(row["rows"]))
    return {"step": row["step"], "rows": row["rows"], "batch": pack(batch)}


@lru_cache(maxsize=1)
def _batches(catalog: Path, base: str, max_length: int, keep: bool) -> Any:
    from qsit_ray.models import load
    from qsit_ray.models.batch import batches

    return batches(catalog, load.load_processor(base), max_length, keep)


def _trainer(job: Job) -> Any:
    from ray.data import ExecutionOptions
    from ray.train import (
        DataConfig,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
    )
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = job.config.train
    layout = Layout(
        job.catalog,
        job.config.seed,
        settings.training.batch_size,
        settings.workers,
        settings.micro_batch,
    )
    encoder = partial(
        encode,
        catalog=job.catalog,
        base=job.base,
        max_length=job.config.models.max_length,
        keep=job.config.models.remember_features,
    )
    return TorchTrainer(
        partial(train_loop, job),
        torch_config=TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=settings.use_gpu),
        run_config=RunConfig(
            name=job.checkpoints.folder.name,
            storage_path=str(job.checkpoints.folder.parent),
            failure_config=FailureConfig(
                max_failures=settings.max_failures,
                # Unlimited by default: a group that can't start would be retried for ever.
                controller_failure_limit=3,
            ),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
        datasets={"train": plan_dataset(job.controller, layout, encoder)},
        # The plan's order is the order of training; the same stream for each rank in each run.
        dataset_config=DataConfig(execution_options=ExecutionOptions(preserve_order=True)),
    )


def _watch(progress: Any, bar: Bar, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        try:
            done, total = ray.get(progress.read.remote(), timeout=5)
        except ray.exceptions.RayError:
            continue
        if total:
            bar.update(done, total)
