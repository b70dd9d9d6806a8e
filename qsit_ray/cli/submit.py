"""rim: `qsit submit`: a command as a job of a running cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import qsit_ray
from qsit_ray import ray_job
from qsit_ray.cli import command_line
from qsit_ray.cli.command_line import Parsed
from qsit_ray.cli.printing import say
from qsit_ray.errors import InputError

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    # Words after the first that is no option belong to the job, with or without `--`.
    app.command(context_settings={"allow_interspersed_args": False})(submit)


def submit(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="-- VERB...", help="The command, without `qsit`.")
    ],
    address: Annotated[
        str | None,
        typer.Option(help="The dashboard's, such as http://127.0.0.1:8265; else RAY_ADDRESS."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for the dashboard's list.")] = None,
    submission_id: Annotated[
        str | None, typer.Option(help="The job's id; by default Ray makes one.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return at once, without the job's log.")
    ] = False,
    env: Annotated[
        list[str],
        typer.Option(
            help="KEY=VALUE for the job's processes; KEY takes the value from here. Not for "
            "secrets: Ray writes them to logs of its nodes."
        ),
    ] = [],  # noqa: B006
    working_dir: Annotated[
        Path | None,
        typer.Option(help="What is uploaded; by default this checkout, else the current folder."),
    ] = None,
) -> None:
    """Run a command as a job on a running cluster, and follow its log.

    The exit status is the command's own, and 0 only where the job succeeded. Ctrl-C stops
    following; the job goes on.
    """
    words = words[1:] if words[:1] == ["qsit"] else words
    command = command_line.parsed(context.find_root().command, words)
    if command.verb == "submit":
        raise InputError("submit: a job can't submit itself")
    place = address or next((os.environ[each] for each in ADDRESSES if os.environ.get(each)), None)
    if place is None:
        raise InputError(
            "no --address and no RAY_ADDRESS: give the dashboard's, such as http://127.0.0.1:8265"
        )
    from qsit_ray import submission

    submission.check_form(place)
    variables = _variables(env)
    folder = _folder(working_dir)
    files = submission.uploaded(folder)
    _check_paths(command, folder, set(files))
    submission.check_size(folder, files)
    client = submission.connect(place)
    if (folder / "qsit_ray").is_dir() and (revision := ray_job.revision(folder)):
        variables = {ray_job.REVISION: revision, **variables}
    if ray_job.REVISION not in variables:
        say(f"{folder}: no git revision; the run's made_with will have none")
    metadata = {
        "verb": command.verb,
        "run": command.run or "",
        "revision": variables.get(ray_job.REVISION, ""),
        **({"job_name": name} if name else {}),
    }
    job = submission.Job(words, folder, variables, metadata, submission_id)
    started = submission.submit(client, job)
    at = client.get_address()
    size = sum(files.values()) / submission.MIB
    say(f"job {started}: submitted, {len(files)} files of {size:.1f} MiB; dashboard: {at}")
    # Without the mode, Ray's own commands send no token.
    mode = os.environ["RAY_AUTH_MODE"]
    # An address in the environment has precedence over Ray's own --address.
    ray = f"RAY_AUTH_MODE={mode} RAY_API_SERVER_ADDRESS={at} ray job"
    hints = (
        f"{ray} logs --follow {started}   follows it\n"
        f"{ray} stop {started}   stops it; the same command then resumes"
    )
    if no_wait:
        return say(hints)
    try:
        outcome = submission.follow(client, started)
    except KeyboardInterrupt:
        print(f"qsit: no longer followed; job {started} goes on\n{hints}", file=sys.stderr)
        raise
    except RuntimeError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"qsit: can't follow job {started}: {reason}\n{hints}", file=sys.stderr)
        raise typer.Exit(1) from None
    told = f": {outcome.reason}" if outcome.reason else ""
    if outcome.state == submission.SUCCEEDED:
        return say(f"job {started}: {outcome.state}")
    print(f"qsit: job {started}: {outcome.state}{told}", file=sys.stderr)
    raise typer.Exit(outcome.exit_status)


def _variables(given: Sequence[str]) -> dict[str, str]:
    """The environment of `--env`. Its values are not printed."""
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not name.isidentifier():
            raise InputError("--env: expected KEY=VALUE, or KEY alone")
        if not equals and name not in os.environ:
            raise InputError(f"--env {name}: not set here; give it a value")
        found[name] = value if equals else os.environ[name]
    return found


def _folder(working_dir: Path | None) -> Path:
    """What is uploaded: as given, the checkout that this program is of, or the current folder."""
    if working_dir is None:
        tree = Path(qsit_ray.__file__).parents[1]
        working_dir = tree if (tree / ".rayignore").is_file() else Path.cwd()
        if not (working_dir / ".rayignore").is_file():
            raise InputError(
                f"{working_dir}: no .rayignore tells what stays here; write one, or name the "
                "folder that is uploaded with --working-dir"
            )
    if not working_dir.is_dir():
        raise InputError(f"--working-dir {working_dir}: no such folder")
    return working_dir.absolute()


def _check_paths(command: Parsed, folder: Path, files: set[Path]) -> None:
    """Raises InputError for a path that the job would refuse, or settings that it would miss."""
    ray_job.refuse_relative(command_line.relative_paths(command, files.__contains__))
    preset = command.values.get("preset")
    if not preset:
        return
    file = Path(preset)
    if file.suffix in command_line.SETTINGS:
        if not file.is_absolute() and file not in files:
            raise InputError(
                f"--preset {preset}: not among what is uploaded of {folder}; put it there, or give "
                "an absolute path on a folder that all nodes share"
            )
        if not (folder / file).exists():
            return  # on the cluster's shared folder, which this machine need not have
        preset = str(folder / file)
    from qsit_ray.config import presets
    from qsit_ray.config.files import override
    from qsit_ray.models.base import relative_paths

    config = override(presets.resolve(preset), command.values.get("assignments") or [])
    ray_job.refuse_relative(relative_paths(config))
