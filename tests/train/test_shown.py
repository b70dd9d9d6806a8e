"""What Ray's dashboard, its metrics and a job's log show of a training."""

import pickle
from dataclasses import replace

import pytest
from qsit_pools import losses

from qsit_ray.mixture import Mixture
from qsit_ray.run_files import EpochLine
from qsit_ray.stages.train import run_config
from qsit_ray.train import gauges
from qsit_ray.train.course import ShownCourse
from qsit_ray.train.state import Position

LINE = EpochLine(
    epoch=1,
    sizes=Mixture.of(1200, 3000, 90),
    losses=losses(0.6, 1.2),
    loss_ratio=0.5,
    reference_loss_ratio=0.4,
    verdict="grow_scoring",
    next_sizes=Mixture.of(1320, 3000, 90),
    srcc=0.5,
    accuracy=0.4,
    plan_sha256="",
    consumed=0,
    planned=0,
    rows_planned=4290,
    rows_trained=4290,
    rows_skipped=0,
    answers_cut=0,
    timing={},
)


@pytest.fixture
def shown(monkeypatch):
    """The values of all gauges by name and tags."""
    values = {}

    class Gauge:
        def __init__(self, name, description, tags):
            self.name, self.tags = name, set(tags)

        def set(self, value, tags):
            assert set(tags) == self.tags
            values[self.name, tags.get("domain")] = value

    monkeypatch.setattr(gauges, "HeldGauge", Gauge)
    return values


def test_the_course_shows_the_mix_and_the_last_loss_ratio(shown):
    course = ShownCourse("runs", "runs-1234")
    position = Position(2, 7, Mixture.of(1320, 3000, 90), 4)
    for _ in range(2):  # Ray may repeat a call
        course.move_to(position)
        course.end_epoch(LINE)
    assert course.position() == position
    assert shown == {
        ("qsit_train_epoch", None): 2,
        ("qsit_train_epoch_rows", "scoring"): 1320,
        ("qsit_train_epoch_rows", "interpreting"): 3000,
        ("qsit_train_epoch_rows", "general"): 90,
        ("qsit_train_loss_ratio", None): 0.5,
        ("qsit_train_reference_loss_ratio", None): 0.4,
    }


def test_without_a_reference_none_is_shown(shown):
    ShownCourse("runs", "runs-1234").end_epoch(replace(LINE, reference_loss_ratio=None))
    assert shown == {("qsit_train_loss_ratio", None): 0.5}


def test_an_epochs_line_has_its_rows_losses_reference_decision_and_the_next_rows():
    assert str(LINE) == (
        "epoch 1: 1,200 : 3,000 : 90 rows, L_S 0.6000, L_I 1.2000, ratio 0.500 (λ 0.400): "
        "grow scoring; next 1,320 : 3,000 : 90 rows"
    )
    last = replace(LINE, next_sizes=None, reference_loss_ratio=None, rows_skipped=16)
    assert str(last) == (
        "epoch 1: 1,200 : 3,000 : 90 rows (16 skipped), L_S 0.6000, L_I 1.2000, ratio 0.500"
    )


def test_a_train_run_is_called_after_the_run_and_its_base_and_keeps_its_folder(job):
    made = pickle.loads(
        pickle.dumps(run_config(job, elastic=False))
    )  # as it reaches the controller
    assert made.name == f"{job.run.path.name}: {job.config.models.primary}"
    assert made.storage_context.experiment_fs_path == str(job.checkpoints.folder)
