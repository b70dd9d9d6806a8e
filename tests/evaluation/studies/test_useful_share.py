"""The paper's run uses at least .93 of its GPUs' time within the memory of 80 GB."""

import numpy as np
import pytest

from qsit_ray.config.presets import paper
from qsit_ray.evaluation.studies.useful_share import catalog, equal_counts, primary, proxy
from qsit_ray.mixture import PADDING


@pytest.fixture(scope="module")
def shares():
    return list(primary(60, seed=1).values())


def test_micro_batches_by_tokens_use_more_of_the_gpus_than_any_sorting(shares):
    characters, two, one, budget = shares
    assert budget.share >= 0.93
    assert characters.share < two.share < one.share < budget.share
    assert budget.most_tokens <= paper().train.micro_tokens
    # In fewer passes than one row at a time takes.
    assert budget.accumulation < 0.7 * one.accumulation


def test_a_trial_computes_few_tokens_for_padding():
    plan_order, budget = proxy(30, seed=1).values()
    assert plan_order.decoder > 1.2
    assert budget.decoder <= 1.03


def test_the_images_have_the_tokens_and_tiles_that_were_measured():
    """KonIQ's size has 4,725 tokens and 7 tiles, 12 megapixels of SPAQ 31 tiles, COCO's size 5."""
    rows = catalog(0)
    assert set(rows.tiles[:15_943].tolist()) == {7, 25, 31}
    koniq = rows.tokens[:15_943][rows.tiles[:15_943] == 7]
    assert set(koniq.tolist()) == {4_725 + 40}
    assert np.median(rows.tiles[-157_712:]) == 5


def test_equal_counts_hold_each_row_once():
    rows = np.arange(9)
    cut = equal_counts(rows, np.array([5, 1, 9, 3, 7, 2, 8, 4, 6]), 2, 2)
    assert [[micro.tolist() for micro in ranks] for ranks in cut] == [
        [[1, 5], [3, 7]],
        [[0, 8], [4, 6]],
        [[2], [PADDING]],
    ]
