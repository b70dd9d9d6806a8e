"""steps.jsonl: what is written is read back, whatever a kill has left; FLOPs by arithmetic."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS
from qsit_ray.models.architectures import architecture, on_meta
from qsit_ray.step_lines import (
    Rates,
    StepLine,
    StepLog,
    Work,
    first_of_ranks,
    mean_ranks,
    peak_flops,
)

positive = st.floats(1e-6, 1e6)
LINES = st.builds(
    StepLine,
    time=st.just("2026-01-01T00:00:00+00:00"),
    epoch=st.integers(0, 3),
    step=st.integers(0, 9),
    loss=positive,
    losses=st.fixed_dictionaries(dict.fromkeys(DOMAINS, st.none() | positive)),
    gradient_norm=st.none() | positive,
    rate=positive,
    rows=st.integers(1, 512),
    tokens=st.integers(1, 10**7),
    seconds=positive,
    stall_seconds=positive,
    mfu=st.none() | positive,
    peak_memory_gib=st.none() | positive,
)


@given(st.lists(LINES), st.integers(0, 200))
def test_lines_are_read_back_and_a_torn_one_is_left_out(lines, torn):
    with TemporaryDirectory() as folder:
        log = StepLog(Path(folder) / "train" / "steps.jsonl")
        assert (log.lines(), log.last()) == ([], None)
        for line in lines:
            log.append(line)
        assert log.lines() == lines
        assert log.last() == (lines[-1] if lines else None)
        if lines:
            text = log.file.read_text()
            end = text.rstrip().rfind("\n") + 1
            log.file.write_text(text[: min(len(text) - 1, end + torn)])
            assert log.lines() == lines[:-1]


@given(st.lists(LINES), st.integers(0, 3), st.integers(0, 9))
def test_a_training_that_goes_on_keeps_the_steps_before_its_checkpoint(lines, epoch, step):
    with TemporaryDirectory() as folder:
        log = StepLog(Path(folder) / "steps.jsonl")
        for line in lines:
            log.append(line)
        log.rewind(epoch, step)
        assert log.lines() == [each for each in lines if (each.epoch, each.step) < (epoch, step)]


def test_a_line_that_is_no_step_is_named(tmp_path):
    file = tmp_path / "steps.jsonl"
    file.write_text('{"epoch": 0}\n')
    with pytest.raises(InputError, match=r"steps.jsonl: .*time: Field required"):
        StepLog(file).lines()


def test_the_terminal_shows_what_is_known():
    line = StepLine("", 0, 1, 2.5, {}, None, 1e-5, 64, 320_000, 8.0, 0.1, None, None)
    assert str(line) == "loss 2.500, 8 rows/s"
    on_gpu = replace(line, mfu=0.4321, peak_memory_gib=61.26)
    assert str(on_gpu) == "loss 2.500, 8 rows/s, 43 % MFU, 61.3 GiB"


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA A800-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("some other device", None),
    ],
)
def test_the_peak_of_a_gpu_is_known_by_its_name(device, peak):
    assert peak_flops(device) == peak


def test_a_steps_flops_are_six_a_weight_that_a_token_passes():
    """The 7B's decoder and head are 7.07 billion weights, tower and projector 0.41 billion."""
    weights = {"tower": 0, "decoder": 0}
    for name, weight in on_meta(architecture("7b")).named_parameters():
        part = "tower" if "vision_tower" in name or "projector" in name else "decoder"
        weights[part] += weight.numel() * ("embed_tokens" not in name)
    work = Work(weights["decoder"], weights["tower"], patches=729)
    tokens, tiles = 64 * 4_800, 64 * 5
    assert work.flops(tokens, 0) == pytest.approx(6 * 7.07e9 * tokens, rel=0.01)
    assert work.flops(0, tiles) == pytest.approx(6 * 0.415e9 * 729 * tiles, rel=0.02)
    assert work.mfu(tokens, tiles, 8.0, None) is None
    assert work.mfu(tokens, 0, 8.0, 8 * 989e12) == pytest.approx(0.206, rel=0.01)
    frozen = replace(work, tower_trained=False)
    assert frozen.flops(0, tiles) == pytest.approx(work.flops(0, tiles) / 3)


def test_a_change_of_the_ranks_has_its_step_and_an_epoch_their_mean():
    line = StepLine("", 0, 0, 2.5, {}, None, 1e-5, 64, 320_000, 2.0, 0.1, None, None)
    ranks = [4, 4, 3, 3, 4, 3, 3]
    lines = [replace(line, step=step, ranks=n) for step, n in enumerate(ranks)]
    assert first_of_ranks(lines).step == 5
    assert first_of_ranks(lines[:4]).step == 2
    assert first_of_ranks(lines[:1]).step == 0
    slow = replace(line, epoch=1, seconds=6.0, ranks=1)
    assert mean_ranks([*lines, slow, replace(slow, seconds=2.0, ranks=2)], 1) == 1.25
    assert mean_ranks(lines, 1) is None
    assert mean_ranks([line], 0) is None  # from before ranks were recorded


def test_rates_are_those_of_all_steps_together():
    losses = {"losses": {"scoring": None, "interpreting": 1.0, "general": 1.0}}
    slow = StepLine(
        **{"time": "", "epoch": 0, "step": 0, "loss": 1.0, "gradient_norm": 1.0, "rate": 1e-5},
        **losses,
        **{"rows": 10, "tokens": 1000, "seconds": 4.0, "stall_seconds": 1.0},
        **{"mfu": 0.2, "peak_memory_gib": None},
    )
    fast = replace(slow, rows=20, seconds=1.0, stall_seconds=0.0, mfu=0.7, peak_memory_gib=30.0)
    found = Rates.of([replace(slow, peak_memory_gib=20.0), fast])
    assert (found.steps, found.rows_per_second, found.tokens_per_second) == (2, 6.0, 400.0)
    assert found.stall == pytest.approx(0.2)
    assert found.mfu == pytest.approx((0.2 * 4 + 0.7) / 5)
    assert found.peak_memory_gib == 30.0
    on_cpu = Rates.of([replace(slow, mfu=None, peak_memory_gib=None)])
    assert (on_cpu.mfu, on_cpu.peak_memory_gib) == (None, None)
    with pytest.raises(ValueError, match="no steps"):
        Rates.of([])
