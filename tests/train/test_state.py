"""The state of a training comes back from its file; rows trained and skipped equal the plan."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qsit_pools import losses as named

from qsit_ray.config.files import override
from qsit_ray.controller import Reference
from qsit_ray.data.catalog import open_catalog
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS, Mixture, checksum, plan_epoch
from qsit_ray.train.bad_loss import BadBatch, BadBatches
from qsit_ray.train.state import Consumed, Course, Measured, Position, TrainState

PLAN = plan_epoch(Mixture.of(5, 9, 4), {"scoring": 6, "interpreting": 6, "general": 6}, 0, 3, 4)


def part(steps):
    counted = Consumed()
    for step in steps:
        rows = PLAN.step_rows(step)
        counted += Consumed(checksum(np.full_like(rows, step), rows), len(rows))
    return counted


def after(job, losses, state=None):
    """The state after one more epoch of `PLAN` with these validation losses."""
    state = state or TrainState(consumed=part(range(PLAN.steps)), timing={"train_seconds": 2.5})
    measured = Measured(named(*losses), srcc=0.5, accuracy=None)
    decision = job.controller(state.decisions).observe(state.epoch, named(*losses))
    line = job.line(PLAN, state, decision, measured)
    return TrainState([*state.lines, line], (*state.decisions, decision))


def test_a_state_comes_back_from_its_file(job, tmp_path):
    state = after(job, (0.3, 1.0))
    state = TrainState(state.lines, state.decisions, 3, part([0]), part([2]), {"a": 1.5}, 2)
    state.write(tmp_path)
    assert TrainState.read(tmp_path) == state
    assert state.epoch == 1


def test_the_file_has_the_form_that_running_trainings_wrote(job, tmp_path):
    one_epoch = replace(job, config=override(job.config, ["train.epochs=1"]))
    after(one_epoch, (0.3, 1.0)).write(tmp_path)
    content = json.loads((tmp_path / "state.json").read_text())
    sizes = {"scoring": 48, "interpreting": 64, "general": 48}
    assert list(content) == [
        *("lines", "decisions", "step", "consumed", "skipped", "timing", "world_size")
    ]
    assert content["decisions"] == {
        "decisions": [
            {
                "epoch": 0,
                "sizes": sizes,
                "loss_scoring": 0.3,
                "loss_interpreting": 1.0,
                "loss_ratio": 0.3,
                "verdict": "hold",
                "next_sizes": sizes,
                "limit": None,
                "reference_loss_ratio": None,
                "tolerance": None,
            }
        ]
    }
    (line,) = content["lines"]
    assert (line["sizes"], line["next_sizes"], line["srcc"]) == (sizes, sizes, 0.5)
    assert content["consumed"] == {"checksum": 0, "rows": 0, "cut": 0}


@pytest.mark.parametrize(
    ("kind", "held", "band"), [("best", 0.5, 0.2), ("end", 0.4, 0.05), ("epoch", 0.7, 0.1)]
)
def test_an_epoch_is_held_against_the_reference_that_the_settings_name(job, kind, held, band):
    found = replace(
        job.mixture,
        reference_loss_ratio=0.5,
        reference_loss_ratio_error=0.1,
        reference_at_end=Reference(2.5, 0.4, 0.01),
        reference_curve=(Reference(0.5, 0.8, 0.1), Reference(1.5, 0.6, 0.04)),
    )
    config = override(job.config, [f"train.controller.reference={kind}"])
    (line,) = after(replace(job, config=config, mixture=found), (0.3, 1.0)).lines
    assert line.reference_loss_ratio == pytest.approx(held)
    assert line.tolerance == pytest.approx(band)
    assert line.verdict == "grow_interpreting"


@pytest.mark.parametrize("text", ["{", "{}", '{"consumed": {}, "skipped": {}, "what": 1}', "[]"])
def test_an_unreadable_state_is_refused_by_name(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"state\.json"):
        TrainState.read(tmp_path)


@given(st.sets(st.integers(0, PLAN.steps - 1)))
def test_consumed_and_skipped_add_up_to_the_plan(skipped):
    trained = set(range(PLAN.steps)) - skipped
    TrainState(consumed=part(trained), skipped=part(skipped)).check(PLAN)


@given(st.integers(0, PLAN.steps - 1), st.booleans())
def test_a_step_lost_or_trained_twice_is_noticed(step, twice):
    consumed = part([*range(PLAN.steps), step] if twice else set(range(PLAN.steps)) - {step})
    with pytest.raises(RuntimeError, match="rows planned"):
        TrainState(consumed=consumed).check(PLAN)


def test_bad_batches_are_recorded_then_skipped(tmp_path):
    batches = BadBatches(tmp_path)
    assert (batches.recorded(), batches.skipped()) == (None, [])
    bad = BadBatch(1, 7, "nan", [12, 55], ["a-12", "b-55"])
    batches.record(bad)
    assert batches.recorded() == bad
    assert str(bad) == "epoch 1, step 7: the loss is nan; rows 12 (a-12), 55 (b-55)"
    batches.skip(bad)
    assert (batches.recorded(), batches.skipped()) == (None, [bad])


def test_the_position_is_the_states_step_and_the_epochs_mixture(job):
    assert job.position(TrainState(step=7, world_size=4)) == Position(0, 7, job.mixture.rows, 4)
    later = after(job, (0.3, 1.0))
    assert job.position(later) == Position(1, 0, later.decisions[0].next_sizes, 1)


def test_fresh_rows_come_after_those_of_the_epochs_done(job):
    train = job.config.train.model_copy(update={"epoch_rows": "fresh"})
    fresh = replace(job, config=job.config.model_copy(update={"train": train}))
    assert fresh.position(TrainState()).used == {}
    first, later = job.mixture.rows, after(job, (0.3, 1.0))
    assert fresh.position(later).used == first
    second = later.decisions[0].next_sizes
    lines = [*later.lines, replace(later.lines[0], epoch=1, sizes=second)]
    later = replace(later, lines=lines, decisions=later.decisions * 2)
    assert fresh.position(later).used == {
        domain: first[domain] + second[domain] for domain in DOMAINS
    }


def test_the_controller_has_the_settings_and_the_catalogs_sizes(job):
    controller = job.controller(())
    assert (controller.first, controller.rule) == (job.mixture.rows, job.config.train.controller)
    assert controller.catalog == open_catalog(job.run.catalog).sizes


def test_an_actor_that_was_restarted_serves_nothing():
    course, position = Course(), Position(0, 7, Mixture.of(1, 2, 3), 4)
    with pytest.raises(RuntimeError, match="not set yet"):
        course.position()
    course.move_to(position)
    assert course.position() == position


def test_no_sizes_follow_the_last_epoch_unless_epochs_are_added(job):
    state = after(job, (0.3, 1.0))
    shown = []
    for epochs in (1, 2):
        settings = override(job.config, [f"train.epochs={epochs}"])
        (line,) = replace(job, config=settings).written(state)
        shown.append(line.next_sizes)
    assert shown == [None, state.decisions[0].next_sizes]
