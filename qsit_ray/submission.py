"""rim: a command as a job of a running cluster, by Ray's job API: its upload, its log, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qsit_ray import addresses
from qsit_ray.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

MIB = 2**20
SUCCEEDED, STOPPED = "SUCCEEDED", "STOPPED"
ENDED = (SUCCEEDED, STOPPED, "FAILED")
# Seconds between SIGTERM and SIGKILL when a job is stopped. Ray's own 3 end a command before it has
# closed its session and said how to go on.
STOP_SECONDS = "30"
STOPPED_STATUS = 143  # that of SIGTERM
COMMAND_NOT_FOUND = 127
PROXY_LOGIN = 407
GATEWAY = (502, 503, 504)
PROXY = "HTTP_PROXY and HTTPS_PROXY name it, NO_PROXY the hosts that need none"


@dataclass(frozen=True)
class Job:
    """What is submitted: the words after `qsit`, the folder that is uploaded, the environment
    variables of the job, and what is stored with it."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    metadata: Mapping[str, str]
    submission_id: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: Ray's word for it, an exit status that is 0 for SUCCEEDED alone, and the
    reason where the log does not have it."""

    state: str
    exit_status: int
    reason: str = ""


def check_form(address: str) -> None:
    """Raises InputError for what is no dashboard's address."""
    addresses.check(address)
    if not address.startswith(("http://", "https://")):
        raise InputError(f"{address}: not a dashboard's address, such as http://127.0.0.1:8265")


def connect(address: str) -> JobSubmissionClient:
    """The job API of a dashboard.

    Raises InputError when nothing answers there, or something else than Ray, its certificate is
    not trusted, a proxy keeps it from answering, or it refuses the token.
    """
    check_form(address)
    # Of Ray's own, which would be taken instead of an address that is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient
    from requests import HTTPError

    for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise _refused(address, error) from None
    except ConnectionError as error:  # also of TLS and proxies, which Ray does not tell apart
        reason = _unreachable(error.__context__)
    except HTTPError as error:
        assert error.response is not None
        reason = _of_status(error.response.status_code, error.response.reason)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        reason = f"not the dashboard of a Ray cluster: {_last_line(error)}"
    raise InputError(f"{address}: {reason}") from None


def uploaded(folder: Path) -> dict[Path, int]:
    """The files that Ray uploads of a folder, relative to it, with their bytes."""
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE as EVERYTHING
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    found = {}

    def add(path: Path) -> None:
        if path.is_file():
            found[path.relative_to(folder)] = path.stat().st_size

    excluded = [_get_excludes(folder, get_runtime_env_default_excludes())]
    respected = os.environ.get(EVERYTHING, "0") != "1"
    silent = logging.getLogger(f"{__name__}.upload")
    silent.disabled = True
    _dir_travel(folder, excluded, add, include_gitignore=respected, logger=silent)
    return found


def check_size(folder: Path, files: Mapping[Path, int]) -> None:
    """Raises InputError with the largest folder, or file beside the folders, where `files`, with
    their bytes, are more than a dashboard takes."""
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE as most

    total = sum(files.values())
    if total < most:
        return
    sizes: Counter[Path] = Counter()
    for path, size in files.items():
        for part in list(path.parents)[:-1] or [path]:
            sizes[part] += size
    # The deepest that holds most of it: not `data`, where `data/images` is as large.
    large = [part for part, size in sizes.items() if size > 0.75 * total]
    worst = max(large, key=lambda part: len(part.parts), default=max(sizes, key=lambda p: sizes[p]))
    raise InputError(
        f"{folder}: {total / MIB:,.0f} MiB to upload, before compression, of {most / MIB:,.0f} at "
        f"most; the largest folder is {worst}, {sizes[worst] / MIB:,.0f} MiB; list it in "
        f"{folder}/.rayignore"
    )


def submit(client: JobSubmissionClient, job: Job) -> str:
    """Upload the folder, unless Ray has it, and start the job; its submission id. Raises InputError
    where Ray refuses it."""
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS, **job.environment}
    try:
        return client.submit_job(
            entrypoint=shlex.join(["qsit", *job.words]),
            submission_id=job.submission_id,
            runtime_env={"working_dir": str(job.folder), "env_vars": environment},
            metadata=dict(job.metadata),
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"the cluster refuses the job: {_last_line(error)}") from None


def follow(client: JobSubmissionClient, submission_id: str) -> Outcome:
    """Print a job's log until the job ends. Raises RuntimeError where the log can't be read."""
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError

    try:
        return _followed(client, submission_id)
    except (ClientError, AuthenticationError, OSError) as error:
        raise RuntimeError(str(error) or type(error).__name__) from error


def _followed(client: JobSubmissionClient, submission_id: str) -> Outcome:
    shown = asyncio.run(_print_log(client, submission_id))
    while (info := client.get_job_info(submission_id)).status not in ENDED:
        shown += asyncio.run(_print_log(client, submission_id, shown))
    # What a job prints last may come after the log's end was told.
    print(client.get_job_logs(submission_id)[shown:], end="", flush=True)
    state = str(info.status.value)
    if state == SUCCEEDED:
        return Outcome(state, 0)
    status = info.driver_exit_code or (STOPPED_STATUS if state == STOPPED else 1)
    if status == COMMAND_NOT_FOUND:
        return Outcome(state, status, "the head has no `qsit` on its PATH")
    told = state == STOPPED or info.driver_exit_code is not None
    return Outcome(state, status, "" if told else _last_line(info.message or ""))


async def _print_log(client: JobSubmissionClient, submission_id: str, shown: int = 0) -> int:
    """Print what the log has after its first `shown` characters, and return how many these are."""
    seen = 0
    async for text in client.tail_job_logs(submission_id):
        print(text[max(0, shown - seen) :], end="", flush=True)
        seen += len(text)
    return max(0, seen - shown)


def _unreachable(error: BaseException | None) -> str:
    """Why nothing could be asked, of an error of requests."""
    from requests.exceptions import ProxyError, SSLError

    text = str(error)
    if isinstance(error, ProxyError):
        if tunnel := re.search(r"Tunnel connection failed: (\d+) ([\w ]*)", text):
            return _of_status(int(tunnel[1]), tunnel[2])
        return f"the proxy does not answer{_errno(text)}; {PROXY}"
    if isinstance(error, SSLError):
        if untrusted := re.search(r"certificate verify failed: ([^(]*[^( ])", text):
            return (
                f"its certificate is not trusted here: {untrusted[1]}; REQUESTS_CA_BUNDLE and "
                "SSL_CERT_FILE name the file of an authority to trust"
            )
        return "no TLS there; an address of http:// in place of https://?"
    return (
        f"nothing answers there{_errno(text)}; is the cluster up, and the tunnel to its dashboard "
        "open?"
    )


def _errno(text: str) -> str:
    """`: Connection refused`, of an error that has it."""
    known = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)", text)
    return f": {known[1] or known[2]}" if known else ""


def _of_status(status: int, reason: str) -> str:
    told = f"{status} {reason}".strip()
    if status == PROXY_LOGIN:
        return f"a proxy asks for a login: {told}; {PROXY}"
    if status in GATEWAY:
        return f"a proxy answers {told}: it does not reach the dashboard; {PROXY}"
    return f"not the dashboard of a Ray cluster: {told}"


def _refused(address: str, error: Exception) -> InputError:
    place = "in ~/.ray/auth_token or the file that RAY_AUTH_TOKEN_PATH names"
    if "Authentication failed" in str(error):  # Ray's words for 403
        return InputError(f"{address}: refuses the token {place}: it is not the cluster's")
    return InputError(
        f"{address}: needs the cluster's token, {place}, and none was sent; of a "
        "cluster without tokens: RAY_AUTH_MODE=disabled"
    )


def _last_line(error: Exception | str) -> str:
    """What a traceback, which Ray sends as the reason, is about; its full stop stands alone."""
    lines = [line.strip(" .'\"") for line in str(error).splitlines()]
    return next(filter(None, reversed(lines)), "no reason given")
