"""rim: one Ray session for a command: the cluster at hand, or a local one on loopback."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = {
    # Token authentication stays on; naming the mode silences the notice about the default.
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_AIR_NEW_OUTPUT": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
# Ray reads some of these when it is imported, so they are set before anything can import it.
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def session(processes: int, use_gpu: bool = False, pretend_gpus: int = 0) -> Iterator[str]:
    """Yield the dashboard's address of a Ray session with room for `processes` of one CPU each.

    Joins the cluster that RAY_ADDRESS names (as under `ray job submit`); otherwise starts one on
    loopback that ends with this process. Where the machine has fewer cores than the work needs
    processes, CPUs are counted logically, so that small machines run the same code; so are the
    GPUs of a rehearsal, `pretend_gpus`.
    """
    if not use_gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import ray

    shared = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        context = ray.init(**shared)
    else:
        context = ray.init(
            address="local",
            num_cpus=max(cores(), processes),
            num_gpus=pretend_gpus or None,
            include_dashboard=True,
            **shared,
        )
    try:
        yield context.dashboard_url or ""
    finally:
        ray.shutdown()


def concurrency(cpus: float) -> int | None:
    """Trials that run at once on this machine's cores; None, no limit, on a cluster.

    A local session counts CPUs logically, so its trials are held to the cores that are there. An
    autoscaler must see all trials waiting, or it would never bring the nodes they need.
    """
    return None if "RAY_ADDRESS" in os.environ else max(1, int(cores() / cpus))


def slots(cpus: float, gpus: float) -> int:
    """Trials of these resources that the cluster of RAY_ADDRESS holds at once, at least 1."""
    with session(processes=1):
        import ray

        have = ray.cluster_resources()
    fit = [have.get("CPU", 0.0) / cpus]
    if gpus:
        fit.append(have.get("GPU", 0.0) / gpus)
    return max(1, int(min(fit)))
