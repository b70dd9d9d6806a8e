"""The study of GPUs runs through the command line; without a GPU it refuses to measure."""

import pytest
import wide_model

from qsit_ray.artifacts import RunFolder
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies import gpu


def test_without_a_gpu_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        gpu.write(tmp_path / "GPU.md", layers=1, steps=1)
    assert not list(tmp_path.iterdir())


def small(folder, *settings):
    """Of a small model, with images of 12 megapixels among its rows."""
    base = wide_model.write(folder / "base")
    return gpu.configuration(base, gpu.write_data(folder / "data", 16), settings)


def test_a_gpu_that_is_too_small_is_refused_before_the_training(tmp_path):
    config = small(tmp_path, "train.workers=1")
    assert gpu.planned(config, 1, 80.0).fits
    with pytest.raises(InputError, match="do not fit into 4 GB: lower --layers"):
        gpu.planned(config, 1, 4.0)


@pytest.mark.slow
def test_a_training_on_cpus_is_measured_alike(tmp_path):
    settings = [
        *("use_gpu=false", "workers=2", "precision=fp32", "training.batch_size=8"),
        *("zero_stage=2", "micro_batch=2", "micro_tokens=8192"),
    ]
    config = small(tmp_path, *(f"train.{each}" for each in settings), "evaluate.cpus=1")
    run = RunFolder(tmp_path / "run")
    found = gpu.trained(run, config)
    assert found.steps == 46 // 8 + 1 - gpu.SETTLING
    assert found.tokens_per_second > found.rows_per_second > 0
    assert 0 <= found.stall < 1
    assert (found.mfu, found.peak_memory_gib) == (None, None)
    assert 1_485 < read_tokens(run, "primary").tokens.max() < 8_192
    assert run.completed()["evaluate"].device_seconds > 0
