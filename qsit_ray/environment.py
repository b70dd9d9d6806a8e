"""pure: what Ray and other libraries read from the environment when they are imported."""

from __future__ import annotations

import os

QUIET = {
    # Token authentication stays on; naming the mode silences the notice about the default.
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_AIR_NEW_OUTPUT": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A process that encodes rows is idle between two epochs, and takes seconds to start again.
    "RAY_idle_worker_killing_time_threshold_ms": "120000",
    # Ctrl-C then ends the command; Tune would take it for the end of the search.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # A GPU's memory is not cut into pieces by batches of ever other sizes.
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
# Without a cluster Ray's processes listen on loopback alone, not on every interface; Ray has this
# for Windows and macOS, where it is the default.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray reads some of these when it is imported, so they are set before anything can import it.
for _name, _value in (QUIET | ({} if "RAY_ADDRESS" in os.environ else LOOPBACK)).items():
    os.environ.setdefault(_name, _value)
