"""Fixtures: real labels and model outputs from beside the repository, and a tiny checkpoint."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

import qsit_ray.environment  # noqa: F401  (before any test imports Ray)

# No test times anything.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LONGEST = (
    "test_pipeline.py",
    "train/test_real_shape.py",
    "train/test_engine.py",
    "search/test_tuner.py",
    "train/test_rehearsal.py",
)
# Commands that a test stops with Ctrl-C inherit this; a shell's background job ignores it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption(
        "--gpu", action="store_true", help="ranks of trainings run on this machine's GPUs"
    )


def pytest_collection_modifyitems(items):
    """The files whose commands take longest come first: at the end no process waits for one."""

    def place(item):
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        reason = "../shared/data is not beside this checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED


@pytest.fixture(scope="session")
def checkpoint():
    """A tiny checkpoint with random weights."""
    from qsit_ray.demo import models
    from qsit_ray.demo.pretrain import make_tokenizer
    from qsit_ray.models.load import Checkpoint

    tokenizer = make_tokenizer([], 0)
    model = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    return Checkpoint(model, models.processor_of(model, tokenizer), "")
