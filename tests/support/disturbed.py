"""Commands that work on a run folder on a cluster while a test does harm to them."""

import contextlib
import signal
import subprocess
import time

import pyarrow.parquet as pq
import pytest
from command_line import QSIT, committed, epochs, sets, step_lines, untimed

from qsit_ray.step_lines import StepLog

BATCH = 8
"""Rows of a global batch of the trainings."""


class Work:
    """A `qsit` command on a run folder, and what harm does to it.

    `unsaved_then`: what was done and not saved at the harm, in words; at most this is done again.
    `recovery`: seconds from the harm until there was more finished work than before it.
    """

    verb = ""

    def __init__(self, run, cluster):
        self.run, self.cluster = run, cluster
        self.process = None
        self.unsaved_then, self.recovery = "", None
        self._struck, self._before = None, None

    def start(self, **settings):
        """Start the command, or the same command again, with other settings of its section."""
        environment = self.cluster.environment | {"OMP_NUM_THREADS": "1"}
        changed = sets({f"{self.verb}.{name}": value for name, value in settings.items()})
        self.log = self.run.parent / f"{self.run.name}.shown"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [QSIT, self.verb, "run", str(self.run), *changed],
                env=environment,
                stdout=log,
                stderr=log,
            )
        return self

    def until(self, moment, patience=300.0):
        """Wait for a moment in the command's life, and return what it is."""
        end = time.monotonic() + patience
        while not (found := moment()):
            self._watch()
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        return found

    @contextlib.contextmanager
    def harm(self):
        """Harm is done in this block. What was under way and is still recorded in it is no sign
        that work went on."""
        self.unsaved_then, struck = self.unsaved(), time.monotonic()
        yield
        self._before, self._struck = self.done(), struck

    def end(self, patience=600.0):
        """Wait for the command's end; its exit status."""
        end = time.monotonic() + patience
        while self.process.poll() is None:
            self._watch()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        self._watch()
        return self.process.returncode

    def finish(self):
        """Wait for its good end."""
        assert self.end() == 0, self.log.read_text()
        return self

    def kill(self):
        """kill -9 of the command, and of nothing else."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def _watch(self):
        if self._struck is not None and self.recovery is None and self.done() > self._before:
            self.recovery = time.monotonic() - self._struck


class Search(Work):
    verb = "search"

    def finished(self):
        """Finished trials, and when each was recorded."""
        files = self.run.glob("search/*/outcomes/*.json")
        return {file: file.stat().st_mtime_ns for file in files}

    def done(self):
        return len(self.finished())

    def unsaved(self):
        self._kept = self.finished()
        return "trials under way"

    def same_as(self, whole):
        """Assert that the trials are those of the undisturbed search, each finished once."""
        for file, recorded in self._kept.items():
            assert file.stat().st_mtime_ns == recorded
        assert _trials(self.run) == _trials(whole)


class Training(Work):
    verb = "train"

    def done(self):
        """(epoch, step) of the last step."""
        last = StepLog(self.run / "train" / "steps.jsonl").last()
        return (last.epoch, last.step + 1) if last else (0, 0)

    def unsaved(self):
        return "{} of {} steps".format(*self._since_checkpoint())

    def _since_checkpoint(self):
        lines = StepLog(self.run / "train" / "steps.jsonl").lines()
        steps = [(line.epoch, line.step) for line in lines]
        return sum(step >= committed(self.run) for step in steps), len(steps)

    def inside(self, epoch):
        """Whether it trains in the midst of an epoch and has a checkpoint there."""
        return lambda: (epoch, 2) <= committed(self.run) and self.done()[1] % 2

    def close_to(self, whole):
        """Assert that rows are those of the undisturbed training, and losses within rounding."""
        lines, others = step_lines(self.run, BATCH), step_lines(whole, BATCH)
        assert [line.rows for line in lines] == [line.rows for line in others]
        losses = [line.loss for line in lines]
        assert losses == pytest.approx([line.loss for line in others], rel=1e-3)
        for line, other in zip(epochs(self.run), epochs(whole), strict=True):
            assert line["consumed"] == line["planned"] == other["planned"]

    def same_as(self, whole):
        """Assert that rows, losses and weights are those of the undisturbed training."""
        assert step_lines(self.run, BATCH) == step_lines(whole, BATCH)
        assert untimed(self.run) == untimed(whole)
        assert all(line["consumed"] == line["planned"] for line in epochs(self.run))
        weights = [run / "train" / "model" / "model.safetensors" for run in (self.run, whole)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def _trials(run):
    tables = sorted(run.glob("search/*/trials.parquet"))
    assert tables
    return [pq.read_table(file).drop_columns("device_seconds").to_pylist() for file in tables]
