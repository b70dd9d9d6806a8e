"""A user's mistake in the training of the primary: no second attempt, and its own line."""

import io
import shutil
import uuid
from dataclasses import replace

import pytest
import torch.distributed as dist
from rich.console import Console

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.files import override
from qsit_ray.controller import Reference
from qsit_ray.errors import InputError
from qsit_ray.session import session
from qsit_ray.stages import train
from qsit_ray.stages.tokens import count_tokens
from qsit_ray.terminal import Terminal
from qsit_ray.train.worker import train_loop


@pytest.fixture
def run(job, tmp_path):
    """A run in which the training comes next."""
    ready = RunFolder(tmp_path / "run")
    shutil.copytree(job.run.catalog, ready.catalog)
    count_tokens(ready, job.config, Terminal())
    curve = (Reference(1.0, 0.5),)
    found = replace(job.mixture, reference_loss_ratio=0.5, reference_curve=curve)
    artifacts.write_json(ready.mixture, found.to_json())
    return ready


@pytest.fixture
def attempts(tmp_path, monkeypatch):
    """Puts a loop in place of the workers' own; returns the rank of each attempt at it."""

    def replace(loop):
        def counted(job):
            import ray.train

            rank = ray.train.get_context().get_world_rank()
            (tmp_path / f"attempt-{rank}-{uuid.uuid4()}").touch()
            loop(job, rank)

        monkeypatch.setattr(train, "train_loop", counted)
        return lambda: sorted(path.name.split("-")[1] for path in tmp_path.glob("attempt-*"))

    return replace


def mistake_of(run, job):
    """The text of the mistake that a training with the default number of restarts ends with."""
    assert job.config.train.max_failures == 2
    terminal = Terminal(Console(file=io.StringIO()))
    with pytest.raises(InputError) as error, session(4):
        train.train(run, job.config, terminal)
    return str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loss=token_mean", "its proxies were trained with loss row_mean, and loss is token_mean"),
        ("train.controller.reference=end", "no λ for train.controller.reference end"),
    ],
)
def test_a_mixture_of_other_proxies_is_refused(run, job, setting, message):
    with pytest.raises(InputError, match=message):
        train.train(run, override(job.config, [setting]), Terminal())


@pytest.mark.slow
def test_a_mistake_that_one_rank_meets_ends_the_training_at_once(run, job, attempts):
    def loop(job, rank):
        if rank == 0:
            raise InputError("models/base: not a sound checkpoint")
        dist.barrier()  # as any collective call: it would wait for rank 0 for ever

    made = attempts(loop)
    assert mistake_of(run, job) == "models/base: not a sound checkpoint"
    assert made() == ["0", "1"]


@pytest.mark.slow
def test_a_row_whose_image_is_gone_ends_the_training_at_once(run, job, attempts):
    """It is met in a task of Ray Data, and reaches every rank as an error of its Dataset."""
    made = attempts(lambda job, rank: train_loop(job))
    for image in (run.catalog / "images").iterdir():
        image.unlink()
    message = mistake_of(run, job)
    assert message.startswith(str(run.catalog / "images"))
    assert message.endswith(": image file is missing")
    assert made() == ["0", "1"]
