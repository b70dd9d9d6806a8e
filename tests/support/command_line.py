"""Helps tests to call the command line, watch it, and kill it at a given moment."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from qsit_ray.step_lines import StepLog

QSIT = str(Path(sys.executable).parent / "qsit")
# All of the demo with the least of everything.
SMALL = {
    "pretraining.crops": 64,
    "pretraining.tower_steps": 6,
    "pretraining.alignment_steps": 4,
    "pretraining.alignment_crops": 64,
    "data.scoring": 40,
    "data.interpreting": 80,
    "data.general": 80,
    "data.validation_scoring": 16,
    "data.validation_interpreting": 16,
    "data.validation_images": 24,
    "data.validation_questions": 20,
    "data.test_images": 24,
    "data.test_questions": 30,
    "search.max_steps": 4,
    "search.evaluate_every": 2,
    "search.max_repeats": 16,  # the domains are tiny: ratio 31.6 asks for 1,264 rows of 80
    "search.proxy_seeds": "[0, 1]",
}


# As few trials and epochs as a run from its rows to its report can have.
FEWEST = SMALL | {
    "search.interpreting_general.ratios": "[0.3, 1.0, 3.0]",
    "search.interpreting_scoring.ratios": "[0.3, 1.0, 3.0]",
    "search.interpreting_general.degree": 2,
    "search.interpreting_scoring.degree": 2,
    "search.interpreting_general.seeds": "[0]",
    "search.interpreting_scoring.seeds": "[0]",
    "search.proxy_seeds": "[0]",
    "train.epochs": 1,
    "train.workers": 1,
}


def words(out, preset, settings):
    """`qsit run` of a preset with settings."""
    return [QSIT, "run", "--preset", preset, "--out", str(out), *sets(settings)]


def sets(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def call(*arguments):
    return subprocess.run([QSIT, *map(str, arguments)], capture_output=True, text=True)


def read(path):
    return json.loads(path.read_text())


def epochs(run):
    return [json.loads(line) for line in (run / "train" / "epochs.jsonl").read_text().splitlines()]


def untimed(run):
    return [{k: v for k, v in line.items() if k != "timing"} for line in epochs(run)]


def step_lines(run, batch):
    """steps.jsonl without what depends on the clock; every step once, in order."""
    clock = {"time": "", "seconds": 1.0, "stall_seconds": 0.0}
    lines = [replace(line, **clock) for line in StepLog(run / "train" / "steps.jsonl").lines()]
    planned = [line["rows_planned"] for line in epochs(run)]
    steps = [(e, step) for e, rows in enumerate(planned) for step in range(-(-rows // batch))]
    assert [(line.epoch, line.step) for line in lines] == steps
    assert sum(line.rows for line in lines) == sum(planned)
    return lines


def committed(run):
    """(epoch, step) from which the training would resume."""
    files = list(run.glob("train/ray-*/committed.json"))
    commits = read(files[0])["commits"] if files else []
    return (commits[-1]["epoch"], commits[-1]["step"]) if commits else (0, 0)


@contextlib.contextmanager
def started(*arguments):
    """A `qsit` command while it runs; killed afterwards if it still runs."""
    with subprocess.Popen([QSIT, *map(str, arguments)], stdout=subprocess.DEVNULL) as driver:
        try:
            yield psutil.Process(driver.pid)
        finally:
            driver.kill()


def wait(driver, moment):
    while not moment():
        with contextlib.suppress(psutil.TimeoutExpired):
            pytest.fail(f"the command ended early, with {driver.wait(timeout=0.05)}")


def until(moment, process, patience=240.0):
    """What is true of a command that runs, as soon as it is."""
    end = time.monotonic() + patience
    while not (found := moment()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def kill(driver, *names):
    """kill -9 of one process of each Ray actor's name among a driver's children."""
    below = {}
    for process in driver.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            below[re.split(r"[. ]", " ".join(process.cmdline()).removeprefix("ray::"))[0]] = process
    for name in names:
        below[name].kill()


def kill_when(moment, command):
    """Run a command and kill it with all its processes as soon as `moment` is true of its output
    so far."""
    with tempfile.NamedTemporaryFile("w") as output, Path(output.name).open() as written:
        pipes = {"stdout": output.fileno(), "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, **pipes)
        shown = ""
        while not moment(shown):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                pytest.fail(f"the command ended before it was killed:\n{shown}")
            shown += written.read()
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for member in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        process.wait()


def stopped(out, moment, sign, status):
    """Train until the checkpoint of a moment is committed, and then stop the command by a signal,
    which says how to go on and commits no stage."""
    command = [QSIT, "train", "run", str(out)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as driver:
        wait(psutil.Process(driver.pid), lambda: committed(out) >= moment)
        driver.send_signal(sign)
        assert driver.wait() == status
        said = driver.stderr.read().splitlines()
    assert said == [f"qsit: stopped; finished work is kept in {out}, and the same command resumes"]
    assert "train" not in read(out / "stages.json")
    assert not (out / "train" / "model").exists()
