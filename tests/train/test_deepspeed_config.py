"""DeepSpeed takes the configuration as it is, with the same global batch on any number of ranks."""

import json
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.config.files import override
from qsit_ray.config.presets import demo, paper
from qsit_ray.config.train import Train, Training
from qsit_ray.errors import InputError
from qsit_ray.train.deepspeed_config import accumulation, deepspeed_config


def settings(*assignments, preset=paper):
    return override(preset(), [f"train.{text}" for text in assignments]).train


def read(values, ranks):
    """DeepSpeed's own reading of a configuration, as on `ranks` ranks."""
    from deepspeed.runtime import config

    with patch.multiple(config.dist, get_rank=lambda: 0, get_world_size=lambda: ranks):
        return config.DeepSpeedConfig(values)


@given(st.integers(1, 256), st.integers(1, 16), st.integers(1, 16))
def test_ranks_without_a_row_are_refused(batch, micro, ranks):
    train = Train(
        training=Training(batch_size=batch, learning_rate=1e-3),
        epochs=1,
        workers=1,
        micro_batch=micro,
        zero_stage=0,
    )
    if batch < ranks:
        with pytest.raises(InputError, match=f"{ranks} workers"):
            accumulation(train, ranks)
    else:
        most = accumulation(train, ranks) * ranks * micro
        assert batch <= most < batch + ranks * micro


@pytest.mark.parametrize("ranks", [1, 2, 7, 8, 32])
def test_deepspeed_reads_the_papers_settings_on_any_number_of_ranks(ranks):
    values = deepspeed_config(paper().train)
    assert "auto" not in json.dumps(values)
    assert read(values, ranks).gradient_accumulation_steps == 1


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_stage_precision_and_clipping_arrive(stage):
    train = settings(f"zero_stage={stage}", "precision=fp32", "training.clip=0.5")
    found = read(deepspeed_config(train), 2)
    assert found.zero_optimization_stage == stage
    assert found.gradient_clipping == 0.5
    assert not found.bfloat16_config.enabled
    assert found.zero_config.offload_optimizer is None


@pytest.mark.parametrize(
    ("assignments", "wanted"),
    [
        (["precision=bf16", "zero_stage=1"], None),
        (["precision=bf16", "zero_stage=2"], "fp32"),
        (["precision=bf16", "zero_stage=3"], "fp32"),
        (["precision=bf16", "zero_stage=0"], None),  # there DeepSpeed knows no such setting
        (["precision=bf16", "bf16_states=true"], None),  # which promises gradients in bf16
        (["precision=fp32"], None),
    ],
)
def test_bf16_gradients_are_added_up_in_float32(assignments, wanted):
    assert read(deepspeed_config(settings(*assignments)), 8).grad_accum_dtype == wanted


@pytest.mark.parametrize("gpu", ["true", "false"])
def test_no_optimiser_is_compiled_but_that_of_the_offload(gpu):
    """What DeepSpeed builds from the settings, without a model."""
    from deepspeed.runtime.engine import DeepSpeedEngine

    values = deepspeed_config(settings(f"use_gpu={gpu}"))["optimizer"]["params"]
    kind, more = DeepSpeedEngine.get_optimizer_configuration(None, values, True)
    weights = [torch.nn.Parameter(torch.ones(2))]
    optimiser = kind(weights, **values, **more)
    assert type(optimiser) is torch.optim.AdamW
    assert optimiser.defaults["fused"] is (gpu == "true")
    offloaded = deepspeed_config(settings("offload_optimizer=true"))["optimizer"]["params"]
    assert offloaded.keys() == {"lr", "weight_decay"}


def test_bf16_states_and_the_offload_arrive():
    found = read(deepspeed_config(settings("bf16_states=true", "offload_optimizer=true")), 8)
    assert found.bfloat16_config.bf16_master_weights_and_grads
    assert found.bfloat16_config.bf16_optimizer_states
    assert found.zero_config.offload_optimizer.device == "cpu"


@pytest.mark.parametrize(
    ("preset", "assignment", "message"),
    [
        (demo, "bf16_states=true", "bf16_states needs precision bf16"),
        (demo, "offload_optimizer=true", "offload_optimizer needs use_gpu"),
    ],
)
def test_a_setting_that_deepspeed_would_refuse_later_is_refused_at_once(
    preset, assignment, message
):
    with pytest.raises(InputError, match=message):
        settings(assignment, preset=preset)
