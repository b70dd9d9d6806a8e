"""pure: what a command must know of Ray jobs: whether it is one, its paths, its git revision."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qsit_ray import addresses
from qsit_ray.errors import InputError

# Ray sets it, under this very name, for the entrypoint of every job and for nothing else.
MARK = "RAY_JOB_CONFIG_JSON_ENV_VAR"
REVISION = "QSIT_REVISION"
"""The environment variable that tells a job its git revision: .git is not uploaded."""
ADDRESS = "RAY_ADDRESS"
CONNECT_SECONDS = 10.0
UNKNOWN = (
    f"git revision: unknown here, since .git is not uploaded; `qsit submit` passes it along, as "
    f"does {REVISION} in the job's env_vars"
)


def in_job() -> bool:
    """Whether this command is the entrypoint of a Ray job, or was started by one."""
    return MARK in os.environ


def refuse_relative(names: Sequence[str]) -> None:
    """Raises InputError naming options or settings of a job whose paths are relative, if any.

    They would lie in Ray's copy of the working directory: on one node, another one after any change
    of what is uploaded, and deleted with the session.
    """
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise InputError(
            f"{names[0]}{more}: a relative path, and inside a job the working folder is Ray's "
            "throw-away copy of what was uploaded; give an absolute path on a folder that all "
            "nodes share"
        )


def check_address() -> None:
    """Raises InputError where RAY_ADDRESS is a dashboard's, to which no command can connect, or
    nobody listens at its host and port: Ray would try again for minutes without a word."""
    address = os.environ.get(ADDRESS, "")
    addresses.check(address)
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"{ADDRESS}={address}: a dashboard's address, which takes jobs only: `qsit submit` "
            f"makes the command one; on a node of the cluster itself, {ADDRESS}=auto"
        )
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{ADDRESS}={address}: no Ray head answers there: {reason}") from None


def revision(tree: Path) -> str | None:
    """The git revision of a source tree: QSIT_REVISION where that is set, else what git says."""
    if given := os.environ.get(REVISION):
        return given
    words = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(words, cwd=tree, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None
