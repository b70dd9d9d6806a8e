"""The questions of a GPU: not measured without one, from the two studies' figures with one."""

from benchmarks import on_gpu
from qsit_ray.evaluation.studies import gpu, gpu_rating
from qsit_ray.evaluation.studies.gpu_rating import Speed
from qsit_ray.step_lines import Rates


def test_without_a_gpu_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert on_gpu.run(False, tmp_path).missing == "no GPU here"


def test_with_one_the_studies_figures_are_the_answer(tmp_path, monkeypatch):
    rates = Rates(
        steps=30,
        rows_per_second=3.0,
        tokens_per_second=9000.0,
        stall=0.25,
        mfu=0.4,
        peak_memory_gib=40.0,
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr(gpu, "write", lambda page, layers, steps: rates)
    monkeypatch.setattr(gpu_rating, "write", lambda page, images: Speed(28.0, 7.0, 0.01))
    found = on_gpu.run(False, tmp_path)
    values = {figure.what: figure.value.median for figure in found.figures}
    assert values["primary, 4 layers of the 7B: rows"] == 3.0
    assert values["scoring at the 0.5B's shape, bf16"] == 4.0
    assert values["the same: model FLOPs utilisation"] == 0.4
    assert found.conditions["GPU"] == "a GPU"
    assert all(check.holds for check in found.checks)
