"""Merges of weights: means by parts, and how far weights have moved."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.models.merge import displacement, merged


def weights(*values):
    return {"a": torch.tensor(values), "b": torch.full((2, 2), values[0])}


def test_a_merge_is_the_mean_by_parts_and_leaves_its_models_alone():
    one, other = weights(1.0, 3.0), weights(5.0, 7.0)
    found = merged([one, other], [0.25, 0.75])
    assert found["a"].tolist() == [4.0, 6.0]
    assert found["b"].tolist() == [[4.0, 4.0], [4.0, 4.0]]
    assert one["a"].tolist() == [1.0, 3.0]


@given(st.floats(0, 1))
def test_a_model_merged_with_itself_is_the_model(part):
    model = weights(0.3, -2.0)
    found = merged([model, model], [part, 1 - part])
    assert all(torch.allclose(found[name], model[name]) for name in model)


def test_displacement_is_the_change_over_the_norm_of_all_weights_together():
    base = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}  # of norm 5
    assert displacement(base, base) == 0
    moved = {"a": torch.tensor([3.0]), "b": torch.tensor([6.0])}
    assert displacement(moved, base) == pytest.approx(0.4)
