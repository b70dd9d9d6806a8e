"""rim: the train stage: the course actor, the resizing Dataset and the TorchTrainer."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.train import Controller
from qsit_ray.controller import MixtureController
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.source import NAMESPACE, Layout, plan_dataset
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.terminal import Bar, Terminal
from qsit_ray.train.bad_loss import BadBatch
from qsit_ray.train.checkpoint import Checkpoints, check_standing
from qsit_ray.train.deepspeed_config import accumulation
from qsit_ray.train.encoding import encode, warm
from qsit_ray.train.state import Course, Job, State
from qsit_ray.train.trackers import require
from qsit_ray.train.worker import train_loop

# Every call of it may be made twice, so those that its death interrupts are.
CourseActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Course)


def train_inputs(config: Config, run: RunFolder) -> dict[str, Any]:
    return {
        "train": config.train.model_dump(mode="json"),
        "models": config.models.model_dump(mode="json"),
        "base": identity(base_checkpoint(config, "primary")),
        "seed": config.seed,
        "mixture": artifacts.read_json(run.mixture),
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
    }


def train(run: RunFolder, config: Config, terminal: Terminal, workers: int | None = None) -> None:
    """Train the primary at the mixture, remixed each epoch; write epochs.jsonl and the model.

    `workers` is for this time in place of `train.workers`; the global batch stays the same.

    Raises InputError when there is no mixture yet, when what was trained so far can't be gone on
    from, or when a row or the base checkpoint can't be trained on; FloatingPointError naming the
    rows of a bad loss.
    """
    if not run.mixture.exists():
        raise InputError(f"{run.mixture}: missing; the search comes first")
    inputs = train_inputs(config, run)
    if run.is_complete("train", inputs):
        return
    workers = workers or config.train.workers
    accumulation(config.train, workers)
    require(config.train.trackers)
    key = artifacts.digest(inputs)[:12]
    # Two runs may share a cluster, and a killed one's processes linger.
    session = f"{key}-{uuid.uuid4().hex[:8]}"
    checkpoints = Checkpoints(run.train / f"ray-{key}", config.train.checkpoints_kept)
    check_standing(run.train, run.epochs, checkpoints, inputs)
    open_catalog(run.catalog).check()
    mixture = artifacts.read_json(run.mixture)
    if mixture.get("catalog", inputs["catalog"]) != inputs["catalog"]:
        raise InputError(
            f"{run.mixture}: of another catalog; build the catalog as it was, or begin a new run"
        )
    job = Job(
        config=config,
        catalog=run.catalog,
        features=run.features,
        base=base_checkpoint(config, "primary"),
        epochs_file=run.epochs,
        model_folder=run.model,
        reference_loss_ratio=mixture["reference_loss_ratio"],
        checkpoints=checkpoints,
        session=session,
        course=f"course-{session}",
    )
    job.bad_batches.forget()
    with (
        run.stage("train", inputs) as cost,
        _course(job, Mixture(**mixture["rows"])) as course,
        terminal.bar("Train the primary") as bar,
        _shown(course, bar),
    ):
        warm(job, workers)
        while True:
            checkpoints.claim(session, inputs)
            state = _ready(job, workers)
            ray.get(course.begin.remote(state.decisions, state.step, workers))
            _fit(job, workers)
            bad = job.bad_batches.met()
            if bad is None:
                break
            _pass_over(job, bad)
        lines = artifacts.read_jsonl(run.epochs)
        seconds = sum(
            v for line in lines for k, v in line["timing"].items() if k != "stall_seconds"
        )
        cost["device_seconds"] = seconds * workers


def _ready(job: Job, workers: int) -> State:
    """The state that training goes on from, its checkpoint made to fit this number of workers."""
    from qsit_ray.train.elastic import convert

    latest = job.checkpoints.latest()
    if latest is None:
        return State()
    state = State.read(latest[1])
    if state.world_size != workers and job.config.train.zero_stage:
        ray.get(ray.remote(num_cpus=1)(convert).remote(latest[1], "deepspeed"))
    return state


def _fit(job: Job, workers: int) -> None:
    from ray.data import ExecutionOptions
    from ray.train import (
        DataConfig,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = job.config.train
    layout = Layout(
        job.catalog, job.config.seed, settings.training.batch_size, settings.micro_batch
    )
    trainer = TorchTrainer(
        partial(train_loop, job),
        torch_config=TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=settings.use_gpu),
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
        datasets={"train": plan_dataset(job.course, layout, partial(encode, job))},
        # The plan's order is the order of training; the same stream for each rank in each run.
        dataset_config=DataConfig(execution_options=ExecutionOptions(preserve_order=True)),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise _mendable(error) or error from None


def _mendable(error: BaseException) -> InputError | None:
    """The InputError that a worker or a data task failed with, if it was one."""
    chain = list(getattr(error, "worker_failures", {}).values())
    while chain:
        each = chain.pop()
        if isinstance(each, InputError):
            return each
        causes = (getattr(each, name, None) for name in ("_base_exc", "cause", "__cause__"))
        chain += [cause for cause in causes if cause is not None]
    return None


def _pass_over(job: Job, bad: BadBatch) -> None:
    """Have the global batch of a bad loss skipped when training goes back to its last checkpoint.

    Raises FloatingPointError where the policy is to stop, or this epoch has had its fill.
    """
    settings = job.config.train
    before = [batch for batch in job.bad_batches.skipped() if batch.epoch == bad.epoch]
    if settings.on_bad_loss == "stop" or len(before) >= settings.max_failures:
        raise FloatingPointError(str(bad))
    job.bad_batches.skip(bad)


@contextmanager
def _course(job: Job, first: Mixture) -> Iterator[Any]:
    """The actor that holds the training's Course, and with it the MixtureController."""
    rule = job.config.train.controller
    controller = MixtureController(
        first,
        job.reference_loss_ratio if rule else None,
        rule or Controller(),
        open_catalog(job.catalog).sizes,
    )
    actor = CourseActor.options(name=job.course, namespace=NAMESPACE).remote(controller)
    try:
        yield actor
    finally:
        ray.kill(actor)


@contextmanager
def _shown(course: Any, bar: Bar) -> Iterator[None]:
    """The bar follows what the workers tell the actor."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            try:
                done, total = ray.get(course.shown.remote(), timeout=5)
            except ray.exceptions.RayError:
                continue
            if total:
                bar.update(done, total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
