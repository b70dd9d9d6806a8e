"""rim: one Ray session for a command, and a check that the machine can hold its run."""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import psutil

import qsit_ray.environment  # noqa: F401  (before anything imports Ray)
from qsit_ray.config.config import Config
from qsit_ray.config.data import DemoData
from qsit_ray.config.train import Train
from qsit_ray.errors import InputError, mistake_in
from qsit_ray.interrupt import end_at_sigterm
from qsit_ray.launcher import read_launcher
from qsit_ray.placement import DATA_CPUS, Request, check, check_labels, ranks
from qsit_ray.ray_job import check_address
from qsit_ray.resources import grows, heard, watched

# Whether Ray Train looks for notices that a node is about to go.
START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
GIB = 2**30
# What Ray's launcher writes on the head.
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
# Measured on the demo: a Python process with torch and transformers, and Ray's own processes.
PROCESS_GIB = 0.7
RAY_GIB = 1.5
# A row's image and text, and a run's models, logs and checkpoints.
ROW_BYTES = 20_000
RUN_GIB = 1.0
# Ray Train's own patience with the nodes of its ranks is longer by this than the user's, which ends
# the command with words; its default is a minute.
SLACK_SECONDS = 120
# Where the number of ranks may change they are started once their places are free; a place that is
# gone meanwhile is not waited for.
START_SECONDS = 60
# Trials that a rehearsal without a cluster runs at once; they only wait.
REHEARSED_AT_ONCE = 4


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def on_cluster() -> bool:
    """Whether the session joins the cluster that RAY_ADDRESS names, as under `ray job submit`."""
    return "RAY_ADDRESS" in os.environ


@contextmanager
def session(
    processes: int,
    use_gpu: bool = False,
    pretend_gpus: int = 0,
    requests: Sequence[Request] = (),
    say: Callable[[str], None] = partial(print, file=sys.stderr),  # noqa: B008  as it is now
    wait_minutes: float = math.inf,
) -> Iterator[str]:
    """Yield the dashboard's address of a Ray session with room for `processes` of one CPU each.

    Joins the cluster that RAY_ADDRESS names; otherwise starts one on loopback that ends with this
    process. There, CPUs are counted logically where the machine has fewer cores than processes, so
    that small machines run the same code; so are `pretend_gpus`, the GPUs of a rehearsal.

    Raises InputError for a RAY_ADDRESS that is a dashboard's, and when this machine, or the cluster
    as far as it is known, can never meet one of the `requests`. Otherwise a cluster may grow: `say`
    is told what waits for its resources, and Starved is raised after `wait_minutes`; where the head
    is lost, `say` is told, and the process ends. A user's mistake that another process met is
    raised as the InputError that it was there. Within another session it is that one, and yields no
    address.
    """
    check_address()
    import ray

    if ray.is_initialized():  # within another session, which watches and ends it
        yield ""
        return
    if not use_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # A machine of one's own gets no notice, and the watcher's end is an error in the log.
    os.environ.setdefault(WATCHER, "1" if on_cluster() else "0")
    shared = {"log_to_driver": False, "logging_level": logging.ERROR}
    if on_cluster():
        patience = 60 * wait_minutes + SLACK_SECONDS
        if any(request.enough < request.bundles for request in requests):
            patience = START_SECONDS
        os.environ.setdefault(START_TIMEOUT, str(patience))
        context = ray.init(**shared)
    else:
        context = ray.init(
            address="local",
            num_cpus=max(cores(), processes),
            num_gpus=pretend_gpus or None,
            include_dashboard=True,
            **shared,
        )
    end_at_sigterm()
    with heard(say) if on_cluster() else nullcontext():
        try:
            if on_cluster():
                check_launcher(requests)
                _check_spare(requests)
                with watched(say, wait_minutes, requests):
                    yield context.dashboard_url or ""
            else:
                check(requests, ray.cluster_resources())
                yield context.dashboard_url or ""
        except Exception as error:
            mistake = mistake_in(error)
            if mistake is None or mistake is error:
                raise
            raise mistake from error  # the log has where it was met
        finally:
            ray.shutdown()


def check_launcher(requests: Sequence[Request]) -> None:
    """Raises InputError for a request that the nodes of Ray's launcher never meet, on the head that
    it started; needs no session. Elsewhere nothing is known."""
    if not on_cluster() or not BOOTSTRAP.expanduser().exists():
        return
    try:
        launcher = read_launcher(BOOTSTRAP.expanduser())
    except InputError:  # the file is not the user's: without its resources it tells nothing
        return
    for request in requests:
        if (held := launcher.together(request)) < request.enough:
            raise InputError(
                f"{request.what} asks for {request.asks}; the nodes that this cluster may "
                f"bring hold {held} of {request.enough}"
            )


def _check_spare(requests: Sequence[Request]) -> None:
    """Raises InputError for a request that leaves no CPU for Ray Data, or whose label no node has
    had, where no node will come."""
    import ray

    if not grows():
        check_labels(requests, [node["Labels"] for node in ray.nodes()])
        there = ray.cluster_resources()  # a node that is missing may come back
        check([each for each in requests if not each.lacks(there)], there)


def labels_of(request: Request) -> dict[str, str]:
    """The node labels to ask Ray for: none without a cluster, as this machine's node has none."""
    return dict(request.labels) if on_cluster() else {}


def concurrency(cpus: float) -> int | None:
    """Trials that run at once on this machine's cores; None, no limit, on a cluster.

    A local session counts CPUs logically, so its trials are limited to the real cores. On a cluster
    an autoscaler must see all waiting trials, or it would never bring the nodes that they need.
    """
    return None if on_cluster() else max(1, int(cores() / cpus))


def slots(request: Request) -> int:
    """Requests of one bundle that the cluster of RAY_ADDRESS meets at once, at least 1."""
    with session(processes=1):
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
    return max(1, sum(request.fits(node["Resources"], node["Labels"]) for node in alive))


def trainings_at_once(train: Train) -> int:
    """Trainings of the primary that this machine's cores, or the cluster's GPUs or CPUs, hold at
    once, at least 1."""
    import ray

    request = ranks(train, train.workers)
    resource = "GPU" if train.use_gpu else "CPU"
    local = resource == "CPU" and not on_cluster()
    there = cores() if local else ray.cluster_resources().get(resource, 0.0)
    if resource == "CPU" and not local:
        there -= DATA_CPUS
    return max(1, int(there / request.total(resource)))


def processes(config: Config, trainings: int = 1) -> int:
    """Processes of one CPU each that the run's widest stage holds at once, with so many `trainings`
    side by side."""
    if config.search.rehearsal is not None:
        return REHEARSED_AT_ONCE
    trials = max(1, int(cores() / config.search.cpus_per_trial))
    return max(trials, trainings * config.train.workers + DATA_CPUS)


def check_machine(config: Config, folder: Path) -> None:
    """Raises InputError when memory or disk is less than the run needs."""
    needed = RAY_GIB + PROCESS_GIB * processes(config)
    free = psutil.virtual_memory().available / GIB
    if free < needed:
        raise InputError(f"memory: {free:.1f} GiB free, the run needs about {needed:.1f} GiB")
    data = config.data
    rows = 0
    if isinstance(data, DemoData):  # images of other sources stay in their own folders
        rows = data.scoring + data.interpreting + data.general + data.test_images
    needed = RUN_GIB + rows * ROW_BYTES / GIB
    existing = next(parent for parent in [folder, *folder.resolve().parents] if parent.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < needed:
        raise InputError(f"disk of {folder}: {free:.1f} GiB free, the run needs {needed:.1f} GiB")
