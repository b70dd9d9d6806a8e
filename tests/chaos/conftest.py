"""Runs on a cluster of several nodes to which a test does harm; `make chaos` writes their table."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import ray_nodes
from command_line import SMALL, call, sets
from disturbed import BATCH, Search, Training

from qsit_ray.evaluation.studies.sections import table, write_section

CLOCK = Path(__file__).with_name("clock")
NODES = ((1, "qsit=primary"), (1, "qsit=primary"), (2, "qsit=proxy"), (2, "qsit=proxy"))
SETTINGS = {
    **SMALL,
    "search.nodes": "{qsit: proxy}",
    "train.nodes": "{qsit: primary}",
    "train.one_node": "false",
    "train.training.batch_size": BATCH,
    "train.micro_batch": 2,
    "train.checkpoint_steps": 2,
    "data.scoring": 24,
    "train.epochs": 2,
    "train.max_failures": 5,
    "evaluate.batch_tokens": 400,
}
SEARCH = {
    "search.interpreting_general.ratios": "[0.1, 0.3, 1.0, 3.0, 10.0]",
    "search.interpreting_general.seeds": "[0, 1]",
}
TRAINING = {"mix": "{scoring: 1, interpreting: 2, general: 1}", "search.proxy_seeds": "[0]"}
COLUMNS = ("disturbance", "not saved then", "seconds until work went on")
LINES = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_addoption(parser):
    parser.addoption("--page", type=Path, help="the page whose table of scenarios is written")


def pytest_configure(config):
    config.stash[LINES] = []


def pytest_sessionfinish(session, exitstatus):
    page, lines = session.config.getoption("--page"), session.config.stash[LINES]
    if page and exitstatus == 0:
        write_section(page, "chaos", "Written by `make chaos`.", table(COLUMNS, lines))


@pytest.fixture(scope="session")
def clock(tmp_path_factory):
    """A file; seconds in it shift the clock of all nodes and commands."""
    return tmp_path_factory.mktemp("clock") / "shift"


@pytest.fixture(scope="session")
def there(clock):
    """The cluster, which a scenario may leave without some of its nodes."""
    paths = os.pathsep.join(map(str, (CLOCK, Path(__file__).parents[2])))
    with ray_nodes.cluster({"CHAOS_CLOCK": str(clock), "PYTHONPATH": paths}, *NODES) as there:
        yield there


@pytest.fixture
def cluster(there):
    """The cluster with all its nodes."""
    there.complete()
    return there


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Folders in which the search, or the training, comes next."""
    folder = tmp_path_factory.mktemp("runs")
    for name, extra in (("search", SEARCH), ("training", TRAINING)):
        settings = {**SETTINGS, **extra, "cache": folder / "cache"}
        verbs = [["data", "build", folder / name, "--preset", "demo", *sets(settings)]]
        if name == "training":
            verbs.append(["search", "run", folder / name, "--set", "search.nodes={}"])
        for verb in verbs:
            done = call(*verb)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def searched(built, there, tmp_path_factory):
    """A search to which nothing happens."""
    run = shutil.copytree(built / "search", tmp_path_factory.mktemp("searched") / "run")
    Search(run, there).start().finish()
    return run


@pytest.fixture(scope="session")
def trained(built, there, tmp_path_factory):
    """A training to which nothing happens."""
    run = shutil.copytree(built / "training", tmp_path_factory.mktemp("trained") / "run")
    Training(run, there).start().finish()
    return run


@pytest.fixture
def searching(built, cluster, tmp_path):
    """A search under way."""
    with _ended(Search(shutil.copytree(built / "search", tmp_path / "run"), cluster)) as work:
        yield work.start()


@pytest.fixture
def training(built, cluster, tmp_path):
    """A training under way."""
    with _ended(Training(shutil.copytree(built / "training", tmp_path / "run"), cluster)) as work:
        yield work.start()


@contextlib.contextmanager
def _ended(work):
    try:
        yield work
    finally:
        work.kill()


@pytest.fixture
def note(request):
    """Call it at a scenario's end, with its work: a line of the table."""

    def add(work, what=""):
        what = what or request.node.function.__doc__.splitlines()[0].removesuffix(".")
        request.config.stash[LINES].append((what, work.unsaved_then, f"{work.recovery:.0f}"))

    return add
