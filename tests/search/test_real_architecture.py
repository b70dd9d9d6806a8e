"""One trial of the real 0.5B architecture through Tune: the code path of the demo's search."""

import math

import pytest
import torch

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.data import DemoData
from qsit_ray.config.files import override
from qsit_ray.data import writing
from qsit_ray.demo.rows import build
from qsit_ray.evaluation.studies.random_model import write_random
from qsit_ray.mixture import Mixture
from qsit_ray.models.architectures import architecture
from qsit_ray.session import session
from qsit_ray.terminal import Terminal

FAST_BF16 = "AVX512" in torch.backends.cpu.get_cpu_capability()
COUNTS = [name for name, field in DemoData.model_fields.items() if field.is_required()]
SIZES = dict.fromkeys(COUNTS, 2) | {"scoring": 3}  # of two scores


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """One tile an image, and the whole of it."""
    folder = tmp_path_factory.mktemp("half") / "base"
    return write_random(folder, architecture("0.5b"), [[384, 384]])


@pytest.mark.slow
def test_a_trial_of_the_real_05b_runs_through_tune(base, tmp_path):
    from qsit_ray.search.trials import Task
    from qsit_ray.search.tuner import run_search
    from qsit_ray.stages.tokens import count_tokens

    config = override(
        presets.paper(),
        [
            "search.training.batch_size=2",
            "search.micro_batch=1",
            "search.max_steps=1",
            "search.evaluate_every=1",
            "search.gpus_per_trial=0",
            "search.cpus_per_trial=1",
            "search.max_failures=0",
            # Without AVX-512 torch multiplies bf16 matrices a number at a time.
            f"search.precision={'bf16' if FAST_BF16 else 'fp32'}",
            f"models.proxy={base}",
            f"models.primary={base}",
            "models.freeze_vision=true",
            "models.remember_features=true",
            "train.zero_stage=2",
            "evaluate.batch_tokens=1",
        ],
    )
    folder = tmp_path / "catalog"
    folder.mkdir()
    made = build(folder, DemoData(**SIZES), 0, lambda *_: None)
    writing.write(folder, made)
    run = RunFolder(tmp_path)
    count_tokens(run, config, Terminal())
    task = Task(run, config, run.path / "search", lambda ratio: Mixture.of(1, 1, 1), "interpreting")

    class Bar:
        def update(self, done, total, note="", figures="", left=None):
            pass

    with session(2):
        (row,) = run_search(task, [(1.0, 0)], Bar())
    assert (row.status, row.steps) == ("completed", 1)
    # With random weights every token of the vocabulary is about as likely.
    assert row.losses["interpreting"] == pytest.approx(math.log(152_000), rel=0.15)
