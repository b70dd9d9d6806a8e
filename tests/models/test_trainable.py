"""The settings decide which weights are trained; adapters merge into the weights they adapt."""

import copy

import pytest
import torch

from qsit_ray.config.files import override
from qsit_ray.config.presets import demo
from qsit_ray.data.encode import Encoder, collate
from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.models.loss import answer_loss, tensors
from qsit_ray.models.trainable import merged, parameter_groups, part_of, prepare, set_rates

LORA = "lora={rank: 4, alpha: 12, targets: [q_proj, down_proj]}"


def settings(*assignments):
    return override(demo(), [f"train.{text}" for text in assignments]).train


@pytest.fixture
def model(checkpoint):
    return copy.deepcopy(checkpoint.model)


@pytest.fixture
def batch(checkpoint, images):
    row = Encoder(checkpoint.processor, images, 512).answer("a.png", "<image>\nWhat?", "A blur.")
    return tensors(collate([row], 0))


def trained(model):
    return {part_of(name) for name, p in model.named_parameters() if p.requires_grad}


def stepped(model, batch, train):
    """The model after one step of plain descent on a batch."""
    groups = parameter_groups(model, train)
    model.zero_grad()
    loss, tokens = answer_loss(model.train(), batch)
    (loss / tokens).backward()
    torch.optim.SGD(groups).step()
    return model.eval()


@pytest.mark.parametrize(
    ("freeze_vision", "assignments", "parts"),
    [
        (True, [], {"projector", "language"}),
        (False, [], {"vision", "projector", "language"}),
        (True, ["frozen=[language]"], {"projector"}),
        (False, ["frozen=[projector, language]"], {"vision"}),
        (True, ["frozen=[projector]", LORA], {"language"}),
    ],
)
def test_the_parts_that_are_not_frozen_are_trained(model, freeze_vision, assignments, parts):
    prepare(model, freeze_vision, settings(*assignments))
    assert trained(model) == parts


def test_nothing_to_train_is_refused(model):
    with pytest.raises(InputError, match="leave nothing to train"):
        prepare(model, True, settings("frozen=[projector, language]"))


def test_each_part_has_its_own_rate(model):
    train = settings("rates={vision: 2.0e-6, language: 1.0e-4}", "training.learning_rate=0.01")
    prepare(model, False, train)
    groups = parameter_groups(model, train)
    assert [group["lr"] for group in groups] == [2e-6, 0.01, 1e-4]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    set_rates(groups, 0.5)
    set_rates(groups, 0.25)
    assert [group["lr"] for group in groups] == [2e-6 / 4, 0.01 / 4, 1e-4 / 4]


def test_a_step_changes_the_trained_parts_and_no_other(model, batch):
    before = copy.deepcopy(model.state_dict())
    train = settings("frozen=[language]", "training.learning_rate=0.1")
    prepare(model, True, train)
    after = stepped(model, batch, train).state_dict()
    changed = {part_of(name) for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"projector"}


def test_adapters_change_nothing_until_they_are_trained(model, checkpoint, batch):
    prepare(model, True, settings(LORA))
    with torch.no_grad():
        assert torch.equal(model.eval()(**batch).logits, checkpoint.model(**batch).logits)


def test_only_the_language_models_targets_get_adapters(model):
    train = settings(LORA, "frozen=[projector]")
    prepare(model, True, train)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    layers = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names}
    assert layers == {"q_proj", "down_proj"}
    assert not any("vision_tower" in name for name in names)


def test_a_target_that_is_no_layer_is_named(model):
    with pytest.raises(InputError, match="no layer wrong_proj"):
        prepare(model, True, settings("lora={targets: [q_proj, wrong_proj]}"))


def test_merged_adapters_answer_as_the_trained_model_does(model, checkpoint, batch, tmp_path):
    train = settings(LORA, "training.learning_rate=0.1")
    torch.manual_seed(0)
    prepare(model, True, train)
    for _ in range(3):
        stepped(model, batch, train)
    weights = merged(model.state_dict(), train.lora)
    assert weights.keys() == checkpoint.model.state_dict().keys()
    load.save(model, checkpoint.processor, tmp_path, state_dict=weights)
    back = load.load(tmp_path, dtype=torch.float32).model
    with torch.no_grad():
        wanted, base = model(**batch).logits, checkpoint.model(**batch).logits
        assert torch.allclose(back(**batch).logits, wanted, atol=1e-5)
    assert not torch.allclose(wanted, base, atol=1e-2)


@pytest.mark.parametrize("assignments", [[], [LORA]])
def test_checkpointed_activations_give_the_same_gradients(checkpoint, batch, assignments):
    found = []
    for extra in ([], ["activation_checkpointing=true"]):
        model = copy.deepcopy(checkpoint.model)
        torch.manual_seed(0)
        prepare(model, True, settings(*assignments, *extra))
        assert model.is_gradient_checkpointing == bool(extra)
        model.train()
        answer_loss(model, batch)[0].backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, saved = found
    assert plain.keys() == saved.keys()
    assert all(torch.allclose(plain[name], saved[name], atol=1e-6) for name in plain)
