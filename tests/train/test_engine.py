"""The same losses however the ranks share the work; checkpoints, export and bad losses."""

from dataclasses import replace

import pytest
import torch
from ranks import checkpoint
from safetensors.torch import load_file

from qsit_ray.config.files import override
from qsit_ray.data.catalog import open_catalog
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.models import load
from qsit_ray.train.elastic import TAG, convert
from qsit_ray.train.encoding import layout

COMBINATIONS = [(world, stage) for world in (1, 2, 4) for stage in (0, 1, 2, 3)]
QUICK = (2, 3)


@pytest.fixture(scope="module")
def alone(steps):
    return steps(1, settings=stage(0))


@pytest.fixture(scope="module")
def planned(job):
    """The plan that `steps.py` trains, and each row's domain."""
    rows = open_catalog(job.run.catalog)
    plan = plan_epoch(Mixture.of(48, 64, 48), rows.sizes, 0, job.config.seed, 8)
    return plan, rows


def stage(number):
    return [f"zero_stage={number}"]


@pytest.mark.parametrize(
    ("world_size", "zero_stage"),
    [
        pytest.param(*each, marks=() if each == QUICK else pytest.mark.slow)
        for each in COMBINATIONS[1:]
    ],
)
def test_losses_are_the_same_on_any_number_of_ranks_and_at_any_zero_stage(
    steps, alone, job, world_size, zero_stage
):
    """Losses, gradients and their clipping: twenty steps and validation, and the export."""
    together = steps(world_size, settings=stage(zero_stage))
    assert alone["losses"][-1] < alone["losses"][0] / 2
    for what in ("losses", "measured"):
        assert together[what] == pytest.approx(alone[what], rel=1e-5, abs=1e-5)
    for one, other in zip(together["by_domain"], alone["by_domain"], strict=True):
        for loss, wanted in zip(one, other, strict=True):
            # A batch may have no row of a domain.
            assert loss == (wanted and pytest.approx(wanted, rel=1e-5))
    exported, base = (
        load_file(f"{folder}/model.safetensors")
        for folder in (together["folder"] / "model", job.base)
    )
    assert {n: t.shape for n, t in exported.items()} == {n: t.shape for n, t in base.items()}
    model = load.load(together["folder"] / "model").model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    whole = sum(parameter.numel() for parameter in model.parameters())
    # At stage 3 a rank holds no weight but its share until a layer is computed.
    assert together["own_weights"] == (0 if zero_stage == 3 else whole)


@pytest.mark.parametrize(
    ("loss", "tolerance"),
    [("token_mean", 1e-5), ("micro_batch_mean", 0.3)],
)
@pytest.mark.slow
def test_ranks_and_accumulation_keep_the_weighting_of_the_loss(steps, alone, loss, tolerance):
    """But for micro-batches that count alike, which are others on two ranks."""
    settings = [*stage(2), "micro_batch=2"]
    one, two = (steps(n, last=6, settings=settings, loss=loss) for n in (1, 2))
    assert two["losses"] == pytest.approx(one["losses"], rel=tolerance)
    assert one["losses"][0] == pytest.approx(alone["losses"][0])
    assert one["losses"][5] != pytest.approx(alone["losses"][5], rel=1e-3)


def test_some_ranks_have_text_alone_while_others_have_images(planned, job):
    """So the test above would hang at stage 3 if such a micro-batch did not use the tower."""
    plan, catalog = planned
    general = [name == "general" for name in catalog.rows["domain"].to_pylist()]
    kinds = set()
    for step in range(plan.steps):
        for micro_batches in layout(job).micro_batches(plan, step, 2):
            kinds.add(tuple(all(general[row] for row in rows) for rows in micro_batches))
    assert (False, True) in kinds or (True, False) in kinds


@pytest.mark.slow
@pytest.mark.parametrize(("then", "zero_stage"), [(1, 1), (1, 2), (4, 2), (1, 3), (4, 3)])
def test_a_checkpoint_is_resumed_on_fewer_or_more_ranks(steps, then, zero_stage):
    settings = stage(zero_stage)
    whole = steps(2, last=10, settings=settings)
    folder = checkpoint(steps(2, last=5, settings=settings))
    rest = steps(2, first=5, last=10, settings=settings, resume=folder)
    assert rest["losses"] == whole["losses"][5:]
    assert rest["measured"] == whole["measured"]
    convert(folder, TAG)
    other = steps(then, first=5, last=10, settings=settings, resume=folder)
    assert other["losses"] == pytest.approx(whole["losses"][5:], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_a_training_in_bf16_is_resumed_on_as_many_or_fewer_ranks(steps, zero_stage):
    """At stages 2 and 3 its gradients are added up in float32."""
    settings = [*stage(zero_stage), "precision=bf16", "micro_batch=1"]
    whole = steps(2, last=6, settings=settings)
    folder = checkpoint(steps(2, last=3, settings=settings))
    rest = steps(2, first=3, last=6, settings=settings, resume=folder)
    assert rest["losses"] == whole["losses"][3:]
    assert rest["measured"] == whole["measured"]
    convert(folder, TAG)
    fewer = steps(1, first=3, last=6, settings=settings, resume=folder)
    assert fewer["losses"] == pytest.approx(whole["losses"][3:], rel=1e-2)


@pytest.mark.slow
def test_a_bad_loss_is_raised_on_all_ranks_and_names_its_rows(steps, planned):
    results = steps(2, settings=["loss_limit=20.0", "training.learning_rate=10.0"])
    rows = planned[0].step_rows(results["bad"]["step"])
    assert 0 < results["bad"]["step"] == len(results["losses"])
    assert results["bad"]["rows"]
    assert set(results["bad"]["rows"]) <= set(rows.tolist())


BUDGET = ["micro_batch=4", "micro_tokens=150"]


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_the_number_of_micro_batches_may_change_from_step_to_step(
    steps, alone, job, planned, zero_stage
):
    """The loss is that of the global batch, however many micro-batches it is divided into."""
    settings = [*stage(zero_stage), *BUDGET]
    config = override(job.config, [f"train.{setting}" for setting in BUDGET])
    divided = layout(replace(job, config=config))
    plan = planned[0]
    counts = {len(divided.micro_batches(plan, step, 2)) for step in range(plan.steps)}
    assert len(counts) > 1
    together = steps(2, settings=settings)
    for what in ("losses", "measured"):
        assert together[what] == pytest.approx(alone[what], rel=1e-5, abs=1e-5)
    one, two = (
        load_file(results["folder"] / "model" / "model.safetensors")
        for results in (alone, together)
    )
    for name, weights in two.items():
        torch.testing.assert_close(weights, one[name], rtol=1e-3, atol=1e-3)


def test_exported_weights_are_the_trained_ones(alone, job):
    exported, base = (
        load_file(f"{folder}/model.safetensors") for folder in (alone["folder"] / "model", job.base)
    )
    assert any(not torch.equal(exported[name], base[name]) for name in base)
