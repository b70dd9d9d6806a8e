"""LLaVA-OneVision 0.5B with random weights: one step, saved, resumed, exported."""

import psutil
import pytest
import torch
from safetensors.torch import load_file

from qsit_ray.evaluation.studies.random_model import write_random
from qsit_ray.models import load
from qsit_ray.models.architectures import architecture
from qsit_ray.session import GIB
from qsit_ray.train.state import TrainState

# Without AVX-512 torch multiplies bf16 matrices a number at a time, for an hour a row; and all
# states in fp32 do not fit beside each other, so that such a machine trains adapters.
FAST_BF16 = "AVX512" in torch.backends.cpu.get_cpu_capability()
SETTINGS = (
    "workers=1",
    "training.batch_size=1",
    "micro_batch=1",
    "zero_stage=2",
    "activation_checkpointing=true",
    *(("precision=bf16", "bf16_states=true") if FAST_BF16 else ("lora={rank: 1, alpha: 2}",)),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_random(tmp_path_factory.mktemp("half") / "base", architecture("0.5b"))


@pytest.mark.slow
def test_the_half_billion_model_takes_a_step_and_comes_back(steps, base):
    settings = {"settings": SETTINGS, "base": base, "validate": False}
    first = steps(1, last=1, **settings)
    print(first)
    assert first["peak_gb"] <= 20
    assert first["own_weights"] == pytest.approx(0.894e9, rel=0.002)
    folder = first["folder"] / "rank0"
    TrainState(world_size=1).write(folder)
    again = steps(1, first=1, last=1, resume=folder, **settings)
    assert again["peak_gb"] <= 20
    saved, resumed = (
        load_file(results["folder"] / "model" / "model.safetensors") for results in (first, again)
    )
    assert saved.keys() == resumed.keys()
    assert all(torch.equal(saved[name], resumed[name]) for name in saved)
    started = load_file(f"{base}/model.safetensors")
    assert any(not torch.equal(saved[name], started[name]) for name in started)
    model = load.load(again["folder"] / "model").model
    assert model.dtype == (torch.bfloat16 if FAST_BF16 else torch.float32)
    assert model.lm_head.weight is model.get_input_embeddings().weight


@pytest.mark.slow
@pytest.mark.skipif(
    not FAST_BF16 and psutil.virtual_memory().total < 30 * GIB,
    reason="two ranks in fp32 take 24 GB; bf16 is too slow without AVX-512",
)
def test_two_ranks_share_the_half_billion_model_at_stage_3(steps, base):
    """Its matrices are partitioned, gathered for training and validation, and exported whole."""
    shared = ("workers=2", "training.batch_size=2", "zero_stage=3")
    kept = [s for s in SETTINGS if not s.startswith(("workers", "training", "zero_stage"))]
    found = steps(2, last=1, base=base, settings=[*shared, *kept])
    print(found)
    assert found["own_weights"] == 0
    assert found["losses"][0] > 0
    assert found["measured"]["loss_interpreting"] > 0
    saved = load_file(found["folder"] / "model" / "model.safetensors")
    started = load_file(f"{base}/model.safetensors")
    assert {name: w.shape for name, w in saved.items()} == {n: w.shape for n, w in started.items()}
    assert all(torch.isfinite(weights).all() for weights in saved.values())
    assert any(not torch.equal(weights, started[name]) for name, weights in saved.items())
