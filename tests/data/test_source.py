"""The Dataset gives each rank its micro-batches of the plan, wherever it starts."""

import threading

import numpy as np
import pytest
import ray

from qsit_ray.artifacts import RunFolder
from qsit_ray.data.catalog import Content
from qsit_ray.data.micro_batches import Bounds
from qsit_ray.data.source import ALONE, NAMESPACE, TOGETHER, TOKENS, Layout, plan_dataset
from qsit_ray.data.tokens import RowTokens, write_tokens
from qsit_ray.data.writing import write
from qsit_ray.mixture import DOMAINS, PADDING, Mixture
from qsit_ray.train.state import Course, Position

MIXTURE = Mixture.of(60, 90, 60)
COURSE = "course-of-the-source"


@pytest.fixture(scope="module", params=["released", "demo"])
def layout(request, tmp_path_factory):
    """With images of the released models' tokens and tiles, or of the demo's."""
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.catalog.mkdir()
    rows = [
        {"id": f"{domain}-{n}", "domain": domain, "images": [], "conversation": []}
        for domain in DOMAINS
        for n in range(16)
    ]
    write(run.catalog, Content(rows))
    drawn = np.random.default_rng(0).integers(0, 3, len(rows))
    released = request.param == "released"
    kinds = [(7_370, 31), (4_780, 7), (3_200, 5)] if released else [(91, 5), (76, 5), (53, 5)]
    tokens, tiles = np.array(kinds)[drawn].T
    run.tokens("primary").parent.mkdir()
    write_tokens(run.tokens("primary"), RowTokens(tokens, tiles))
    return Layout(run, 0, 16, Bounds(8, 16_384))


@pytest.fixture(scope="module")
def course():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield ray.remote(num_cpus=0)(Course).options(name=COURSE, namespace=NAMESPACE).remote()
    ray.shutdown()


def encode(row):
    """The number of the task that encodes, in place of the batch."""
    task = ray.get_runtime_context().get_task_id()
    return {"step": row["step"], "rows": row["rows"], "batch": task}


def served(iterators):
    """What each rank reads, as (step, rows, task)."""
    got = [[] for _ in iterators]

    def read(rank):
        for batch in iterators[rank].iter_batches(batch_size=1, batch_format="numpy"):
            rows = batch["rows"][0].tolist()
            got[rank].append((int(batch["step"][0]), rows, str(batch["batch"][0])))

    threads = [threading.Thread(target=read, args=(rank,)) for rank in range(len(iterators))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_ranks_read_their_micro_batches_from_any_step_on(layout, course):
    ranks = 3
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    ray.get(course.move_to.remote(Position(0, 0, MIXTURE, ranks)))
    dataset = plan_dataset(COURSE, layout, encode)
    iterators = dataset.streaming_split(ranks, equal=True)
    lengths = set()
    # Epoch 0 from its start, from its middle and at its last step, which has fewer rows; epoch 1.
    for epoch, first in ((0, 0), (0, 2), (0, 13), (1, 3)):
        ray.get(course.move_to.remote(Position(epoch, first, MIXTURE, ranks)))
        plan = layout.plan(MIXTURE, epoch)
        assert plan.steps == 14
        got = served(iterators)
        for rank in range(ranks):
            planned = [
                (step, divided[rank].tolist())
                for step in range(first, plan.steps)
                for divided in layout.micro_batches(plan, step, ranks)
            ]
            assert [(step, rows) for step, rows, _ in got[rank]] == planned
        held = [row for each in got for _, rows, _ in each for row in rows if row != PADDING]
        assert sorted(held) == sorted(plan.rows[first * 16 :])
        # In the plan's order: the first micro-batches have a task each, so that any free process
        # can encode them, and the later ones a task for several, as many as their tokens allow.
        tasks = [each[number][2] for number in range(len(got[0])) for each in got]
        shared = [tasks.count(task) for task in dict.fromkeys(tasks)]
        assert shared[:ALONE] == [1] * min(ALONE, len(tasks))
        assert sum(shared) == len(tasks)
        listed = [each[number][:2] for number in range(len(got[0])) for each in got]
        tokens = [layout.counted([row for row in rows if row != PADDING])[0] for _, rows in listed]
        ends = np.cumsum(shared)
        for first_of, end in zip(ends[ALONE - 1 : -1], ends[ALONE:], strict=True):
            held = tokens[first_of:end]
            lengths.add(len(held))
            assert len(held) == 1 or (len(held) <= TOGETHER and sum(held) <= TOKENS)
            more = tokens[end : end + 1]
            assert not more or len(held) == TOGETHER or sum(held) + more[0] > TOKENS
    demo = layout.counted(np.arange(48))[0] < 48 * 100
    assert (TOGETHER in lengths) == demo and max(lengths) > 1
