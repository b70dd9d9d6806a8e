"""rim: the run folder while a command works on it: configuration, lock, terminal and log."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from qsit_ray import ray_job
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal, quiet

if TYPE_CHECKING:
    from qsit_ray.config.config import Config


@contextmanager
def working(
    run: RunFolder, config: Config | None = None, source: RunFolder | None = None
) -> Iterator[tuple[Config, Terminal]]:
    """Hold the run and yield its configuration and terminal; libraries' output goes to its log.
    `source`: the run that a new one begins with the results of.

    A failure that is not the user's mistake leaves its traceback in the log and exits with
    status 1.
    """
    from qsit_ray import pipeline
    from qsit_ray.fork import fork
    from qsit_ray.models.base import relative_paths
    from qsit_ray.run_config import opened

    if config is None:
        config = opened(run)
    if ray_job.in_job():
        ray_job.refuse_relative(relative_paths(config))
    with run.lock():
        if source is not None and not run.config.exists():
            said = Terminal(stamped=True)
            said.say(f"Take over what stays of {source.path} ...")
            stages = fork(source, run, config)
            said.say(f"from {source.path}: {', '.join(stages) or 'nothing'}")
        config, changed = pipeline.create(run, config, source)
        try:
            with quiet(run.log) as terminal:
                for each in changed:
                    terminal.say(f"{each.key}: {each.now} from now on, {each.before} before")
                try:
                    yield config, terminal
                except Exception:
                    traceback.print_exc()
                    raise
        except InputError:
            raise
        except KeyboardInterrupt:
            print(
                f"qsit: stopped; finished work is kept in {run.path}, and the same command resumes",
                file=sys.stderr,
            )
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            print(
                f"qsit: failed: {type(error).__name__}: {reason[-1] if reason else ''}\n"
                f"qsit: completed stages are kept; the log is {run.log}",
                file=sys.stderr,
            )
            raise typer.Exit(1) from error


def requested_config(
    run: RunFolder, preset: str | None, assignments: list[str], source: RunFolder | None = None
) -> Config:
    """The configuration of a preset, of another run, the `source`, or of the existing run, with
    `--set` assignments applied.

    A run that was made from the source keeps its own settings. Raises InputError when there is
    neither a run nor a preset, both a preset and a source, or a run that was not made from the
    source, and as `override` does.
    """
    from qsit_ray.config import presets
    from qsit_ray.config.files import override
    from qsit_ray.run_config import FROM, RunConfig, opened

    if source is not None:
        if preset is not None:
            raise InputError("--from and --preset: give one of them")
        if not run.config.exists():
            return override(opened(source), assignments)
        if RunConfig.read(run).made_with.get(FROM) != str(source.path):
            raise InputError(
                f"{run.path}: a run that was not made from {source.path}; leave out --from to "
                "resume it, or give another --out"
            )
        return override(opened(run), assignments)
    if preset is None and not run.config.exists():
        raise InputError(f"{run.path}: no run here yet; give the --preset to create it with")
    config = presets.resolve(preset) if preset else opened(run)
    return override(config, assignments)
