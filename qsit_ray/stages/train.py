"""rim: the train stage: the course actor, the Dataset of the plan and the TorchTrainer."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.data import ExecutionOptions
from ray.train import (
    DataConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.section import meaning
from qsit_ray.config.train import Train
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.source import NAMESPACE, plan_dataset
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError, mistake_in
from qsit_ray.mixture import Mixture
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.placement import cpu_task, ranks
from qsit_ray.run_files import EpochLine, FoundMix, in_rows, read_epochs
from qsit_ray.session import labels_of
from qsit_ray.step_lines import StepLog, first_of_ranks, mean_ranks
from qsit_ray.terminal import Bar, Terminal
from qsit_ray.train.bad_loss import BadBatch
from qsit_ray.train.checkpoint import Checkpoints, Inputs, check_resumable
from qsit_ray.train.course import ShownCourse
from qsit_ray.train.deepspeed_config import accumulation
from qsit_ray.train.encoding import encode, layout, warm_up
from qsit_ray.train.sizes import Sizes
from qsit_ray.train.state import Job, TrainState
from qsit_ray.train.trackers import require
from qsit_ray.train.worker import train_loop

START_FAILURES, ELASTIC_START_FAILURES = 3, 20
"""Starts of the workers that may fail; unlimited by Ray's default, and those that can't start would
be tried for ever. Where their number may change, each death of a node may cost one."""

# Its methods may run twice, so Ray may repeat a call that a death interrupted.
CourseActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ShownCourse)


def train(run: RunFolder, config: Config, terminal: Terminal, workers: int | None = None) -> None:
    """Train the primary at the mixture, resized each epoch; write epochs.jsonl and the model.

    `workers` replaces `train.workers` this time; the global batch stays the same, also where fewer
    ranks train (`train.min_workers`).

    Raises InputError when there is no mixture yet, when the training so far can't be resumed, or
    when a row or the base checkpoint can't be trained on; FloatingPointError naming the rows of a
    bad loss.
    """
    if not run.mixture.exists():
        raise InputError(f"{run.mixture}: missing; the search comes first")
    base = base_checkpoint(config, "primary")
    catalog = artifacts.file_sha256(run.catalog / "manifest.json")
    settings = meaning(config.train)
    workers = workers or config.train.workers
    inputs: Inputs = {
        "train": settings,
        "models": config.models.model_dump(mode="json", exclude={"proxy", "primary"}),
        "base": identity(run, base, terminal.say),
        "loss": config.loss_inputs(config.train, workers),
        "seed": config.seed,
        "mixture": artifacts.read_json(run.mixture),
        "catalog": catalog,
        **config.prompts.inputs,
    }
    if run.is_complete("train", inputs):
        return
    accumulation(config.train, workers)
    require(config.train.trackers)
    if config.train.schedule == "constant":
        # Epochs can be added: the same checkpoints then continue.
        resumed: Inputs = {**inputs, "train": {**settings, "epochs": None}}
    else:
        resumed = inputs
    key = artifacts.digest(resumed)[:12]
    # Named apart: two runs may share a cluster, and processes of a killed run may still work.
    session = f"{key}-{uuid.uuid4().hex[:8]}"
    checkpoints = Checkpoints(run.train / f"ray-{key}", config.train.checkpoints_kept)
    check_resumable(run.train, run.epochs, checkpoints, resumed)
    open_catalog(run.catalog).check()
    read_tokens(run, "primary")
    mixture = FoundMix.read(run.mixture)
    if mixture.catalog not in (None, catalog):
        raise InputError(
            f"{run.mixture}: of another catalog; build the catalog as it was, or start a new run"
        )
    if mixture.loss != config.loss:
        raise InputError(
            f"{run.mixture}: its proxies were trained with loss {mixture.loss}, and loss is "
            f"{config.loss} now; run `qsit search run {run.path}` first"
        )
    rule = config.train.controller
    if rule is not None and not mixture.references(rule.reference):
        raise InputError(f"{run.mixture}: no λ for train.controller.reference {rule.reference}")
    job = Job(run, config, base, mixture, checkpoints, session)
    job.bad_batches.clear()
    with (
        run.stage("train", inputs) as cost,
        _course_actor(job) as course,
        terminal.bar("Train the primary") as bar,
        _progress_shown(job, workers, bar, terminal),
    ):
        warm_up(job, workers)
        while True:
            checkpoints.claim(session, resumed)
            # Before the workers do it: Ray asks for the read tasks when the Dataset is made, too.
            # How many ranks there will be is known to rank 0 alone, which sets it again.
            latest = checkpoints.latest()
            state = TrainState.read(latest[1]) if latest else TrainState()
            state = replace(state, world_size=workers)
            ray.get(course.move_to.remote(job.position(state)))
            if state.lines:
                ray.get(course.end_epoch.remote(state.lines[-1]))
            _fit(job, workers)
            bad = job.bad_batches.recorded()
            if bad is None:
                break
            _skip_or_stop(job, bad)
        steps = StepLog(run.steps).lines()
        cost.device_seconds = sum(
            (mean_ranks(steps, line.epoch) or workers) * seconds
            for line in read_epochs(run.epochs)
            for name, seconds in line.timing.items()
            if name != "stall_seconds"  # contained in train_seconds
        )


class EndAtMistake(UserCallback):
    """Ends the training at a user's mistake, which the workers would only meet again.

    Ray Train starts the workers again after an error of theirs, but not after one of a callback.
    """

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if mistake := mistake_in(error):
                raise mistake


class Trainer(TorchTrainer):
    """A TorchTrainer that Ctrl-C ends like any other work of the command.

    Ray's own handler would abort the run and exit with the status of a failure. `sizes`, if any,
    takes the place of Ray's own elastic policy.
    """

    sizes: Sizes | None = None

    def _initialize_and_run_controller(self, **controller: Any) -> Any:
        if self.sizes is not None:
            controller["scaling_policy"] = self.sizes
        return super()._initialize_and_run_controller(**controller)

    def _register_sigint_handler(self, controller: object) -> None:
        pass


def scaling(train: Train, workers: int) -> ScalingConfig:
    """What Ray Train asks Ray for to run the ranks, `workers` at most."""
    request = ranks(train, workers)
    fixed = request.enough == request.bundles
    return ScalingConfig(
        num_workers=request.bundles if fixed else (request.enough, request.bundles),
        use_gpu="GPU" in request.resources,
        resources_per_worker=dict(request.resources),
        placement_strategy=request.strategy,
        label_selector=labels_of(request) or None,
    )


def run_config(job: Job, elastic: bool) -> RunConfig:
    """How Ray Train runs the training, whose number of ranks may change if it is `elastic`: its
    folder has the key of its inputs, while Ray's dashboard and metrics show the run and the
    primary."""
    folder, settings = job.checkpoints.folder, job.config.train
    config = RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        failure_config=FailureConfig(
            max_failures=settings.max_failures,
            # A node that goes after a notice is no fault of the training, however often. One that
            # just dies can't be told from a fault, and counts as one of `max_failures`.
            max_preemption_failures=-1,
            # The checkpoint at the notice needs each rank's part, also of the ranks that go: once
            # they are gone the others have nothing to end, and would only wait.
            preemption_grace_s=0.0,
            controller_failure_limit=ELASTIC_START_FAILURES if elastic else START_FAILURES,
        ),
        logging_config=LoggingConfig(log_level="WARNING"),
        callbacks=[EndAtMistake()],
    )
    return titled(config, job.title)


def titled(config: RunConfig, title: str) -> RunConfig:
    """The same with a title for Ray's dashboard and metrics; its folder keeps its name."""
    # The folder follows from the name that the run has when this is first read, here; a folder
    # named after the run's would not be found again once that is moved.
    assert config.storage_context.experiment_dir_name == config.name
    config.name = title
    return config


def _fit(job: Job, workers: int) -> None:
    settings = job.config.train
    request, asked = ranks(settings, workers), scaling(settings, workers)
    trainer = Trainer(
        partial(train_loop, job),
        torch_config=TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=asked,
        run_config=run_config(job, asked.elasticity_enabled),
        datasets={"train": plan_dataset(job.course, layout(job), partial(encode, job))},
        # Rows are trained in the plan's order: each rank gets the same stream in every run.
        dataset_config=DataConfig(
            execution_options=ExecutionOptions(
                preserve_order=True, label_selector=labels_of(cpu_task(settings))
            )
        ),
    )
    if asked.elasticity_enabled:
        request = replace(request, labels=labels_of(request))
        trainer.sizes = Sizes(asked, request, job.checkpoints, settings.epochs)
    trainer.fit()


def _skip_or_stop(job: Job, bad: BadBatch) -> None:
    """Have the global batch of a bad loss skipped after the return to the last checkpoint.

    Raises FloatingPointError where `on_bad_loss` is stop, or `max_failures` batches of this epoch
    are skipped already.
    """
    settings = job.config.train
    before = [batch for batch in job.bad_batches.skipped() if batch.epoch == bad.epoch]
    if settings.on_bad_loss == "stop" or len(before) >= settings.max_failures:
        raise FloatingPointError(str(bad))
    job.bad_batches.skip(bad)


@contextmanager
def _course_actor(job: Job) -> Iterator[Any]:
    # Beside the driver: an actor keeps its node from going, even one that holds no CPU.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = CourseActor.options(
        name=job.course, namespace=NAMESPACE, scheduling_strategy=here
    ).remote(run=job.run.path.name, training=job.name)
    try:
        yield actor
    finally:
        ray.kill(actor)


def _sizes_after(job: Job, lines: Sequence[EpochLine]) -> Mixture:
    """The rows of the epoch that follows; of the last one, once the training has ended."""
    if not lines:
        return job.mixture.rows
    return lines[-1].next_sizes or lines[-1].sizes


@contextmanager
def _progress_shown(job: Job, workers: int, bar: Bar, terminal: Terminal) -> Iterator[None]:
    """The bar follows rank 0's progress file, which is removed at the end, and the last line of
    steps.jsonl; each new line of epochs.jsonl is shown as it comes, and another number of ranks."""
    for left_by_a_kill in job.checkpoints.folder.glob("progress_*.json"):
        left_by_a_kill.unlink(missing_ok=True)
    ended, steps = threading.Event(), StepLog(job.run.steps)
    lines = read_epochs(job.run.epochs)
    epochs, shown, sizes = len(lines), workers, _sizes_after(job, lines)

    def show_ranks(now: int) -> None:
        nonlocal shown
        if now != shown and (lines := steps.lines()):
            shown, first = now, first_of_ranks(lines)
            terminal.say(
                f"{now} of {workers} workers from epoch {first.epoch} step {first.step} on"
            )

    def show_epochs() -> None:
        nonlocal epochs, sizes
        lines = read_epochs(job.run.epochs)
        for line in lines[epochs:]:
            terminal.say(str(line))
        epochs, sizes = len(lines), _sizes_after(job, lines)

    def watch() -> None:
        while not ended.wait(1.0):
            with suppress(InputError):  # not written yet
                done, total, now = artifacts.read_json(job.progress_file)
                all_of = job.config.train.epochs
                mix = f"epoch {min(epochs, all_of - 1)} ({all_of} in all): {in_rows(sizes)}"
                bar.update(done, total, mix, str(steps.last() or ""))
                show_ranks(now)
                show_epochs()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        show_epochs()
        job.progress_file.unlink(missing_ok=True)
