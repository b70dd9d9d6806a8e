"""What was rehearsed leaves no trace; what does not fit is refused with the setting to lower."""

import numpy as np
import pytest
import torch
import wide_model
from safetensors.torch import load_file

from qsit_ray.errors import InputError
from qsit_ray.train.rehearsal import longest_rows, rehearse

DROPOUT = "lora={rank: 2, alpha: 4, dropout: 0.3}"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return wide_model.write(tmp_path_factory.mktemp("wide") / "base")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (1, ["zero_stage=0"]),
        (2, ["zero_stage=3"]),
        (2, ["zero_stage=3", "precision=bf16"]),
        (1, ["zero_stage=0", "precision=bf16"]),
        (2, ["zero_stage=1"]),
        (2, ["zero_stage=2", "precision=bf16"]),
        (2, ["zero_stage=2", DROPOUT]),
        (2, ["zero_stage=3", "training.weight_decay=0.1"]),
        (2, ["zero_stage=2", "precision=bf16", "bf16_states=true"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_a_rehearsed_training_is_the_same_bit_for_bit(steps, wide, ranks, settings):
    compare(steps, ranks, settings, base=wide)


@pytest.mark.slow
def test_a_small_rehearsed_training_is_the_same_bit_for_bit(steps):
    compare(steps, 1, ["zero_stage=2"])


def compare(steps, ranks, settings, **options):
    settings = [*settings, "micro_batch=1"]
    plain, rehearsed = (
        steps(ranks, last=2, settings=settings, rehearse=each, **options) for each in (False, True)
    )
    for what in ("losses", "early", "measured"):
        assert rehearsed[what] == plain[what]
    weights, wanted = (
        load_file(f"{results['folder']}/model/model.safetensors") for results in (rehearsed, plain)
    )
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(("micro_tokens", "rows"), [(None, [3, 0, 4]), (16_000, [3, 0]), (1, [3])])
def test_the_longest_rows_are_those_of_the_most_tokens(job, micro_tokens, rows):
    """Text and image together, and as many as the bounds of a micro-batch allow."""
    update = {"micro_batch": 3, "micro_tokens": micro_tokens}
    train = job.config.train.model_copy(update=update)
    assert longest_rows(np.array([7_000, 40, 812, 8_000, 5_000]), train) == rows


class Short:
    """An engine whose memory lacks in one part."""

    def __init__(self, rows, error):
        self.rows, self.error = rows, error
        self.validation, self.deepspeed, self.device = self, self, torch.device("cpu")
        self.global_steps = self.global_samples = self.micro_steps = self.skipped_steps = 0
        self.basic_optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])

    def measure(self, *_arguments, most):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_too_little_memory_is_one_line_that_says_what_to_lower(job, error):
    with pytest.raises(InputError) as refused:
        rehearse(Short(None, error), job)
    assert "validation do not fit into memory: lower evaluate.batch_tokens" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_error_stays_what_it_is(job):
    with pytest.raises(RuntimeError, match="a shape"):
        rehearse(Short(None, RuntimeError("a shape")), job)
