"""The study of GPUs runs through the command line; without a GPU it refuses to measure."""

import pytest
import wide_model

from evaluation.studies import gpu
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError


def test_without_a_gpu_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        gpu.write(tmp_path / "GPU.md", layers=1, steps=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_on_cpus_is_measured_alike(tmp_path):
    """Of a small model, with images of 12 megapixels among its rows."""
    base = wide_model.write(tmp_path / "base")
    settings = [
        *("use_gpu=false", "workers=2", "precision=fp32", "training.batch_size=8"),
        *("zero_stage=2", "micro_batch=2", "micro_tokens=8192"),
    ]
    config = gpu.configuration(
        base,
        gpu.write_data(tmp_path / "data", 16),
        [*(f"train.{each}" for each in settings), "evaluate.cpus=1"],
    )
    found = gpu.measure(RunFolder(tmp_path / "run"), config)
    assert found.steps == 46 // 8 + 1 - gpu.SETTLING
    assert found.tokens_per_second > found.rows_per_second > 0
    assert 0 <= found.stall < 1
    assert 1_485 < found.most_tokens < 8_192
    assert found.evaluation_seconds > 0
    assert (found.mfu, found.peak_gib) == (None, None)
