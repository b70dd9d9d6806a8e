"""Memory by arithmetic against what autograd keeps, and against DeepSpeed's own estimators."""

import os
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn.functional import cross_entropy
from transformers import (
    DynamicCache,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.initialization import no_init_weights
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from qsit_ray.config.files import override
from qsit_ray.config.presets import paper
from qsit_ray.models.architectures import architecture, most_tiles, on_meta
from qsit_ray.models.trainable import prepare
from qsit_ray.train.memory import (
    LONGEST_ANSWER,
    Row,
    Weights,
    evaluation_bytes,
    forward_stages,
    number_size,
    peaks,
    state_bytes,
    text_layer_bytes,
    tower_layer_bytes,
    training_bytes,
)

WEIGHTS = Weights(total=8_000, trained=8_000, largest_layer=1_000, vision=True)


def settings(*assignments):
    return override(paper(), [f"train.{text}" for text in assignments]).train


def kept(model, inputs):
    """Bytes that autograd keeps of a forward pass, the weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**inputs)
    return sum(storage.nbytes() for storage in saved.values())


def text(layers):
    return Qwen2Config(
        vocab_size=64,
        hidden_size=128,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        intermediate_size=512,
    )


def tower(layers):
    return SiglipVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        vision_use_head=False,
    )


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_a_text_layer_keeps_what_autograd_keeps(dtype, size):
    hidden = torch.randn(2, 200, 128, dtype=dtype, requires_grad=True)
    few, more = (
        kept(Qwen2Model(text(n)).to(dtype), {"inputs_embeds": hidden, "use_cache": False})
        for n in (1, 3)
    )
    assert text_layer_bytes(text(1), size) == pytest.approx((more - few) / 2 / 400, rel=0.1)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_a_tower_layer_keeps_what_autograd_keeps(dtype, size):
    pixels = torch.randn(6, 3, 64, 64, dtype=dtype)
    few, more = (
        kept(SiglipVisionModel(tower(n)).to(dtype), {"pixel_values": pixels}) for n in (1, 3)
    )
    assert tower_layer_bytes(tower(1), size) == pytest.approx((more - few) / 2 / 384, rel=0.1)


def test_checkpointed_layers_keep_their_inputs_only():
    hidden = torch.randn(2, 200, 128, requires_grad=True)
    found = []
    for layers in (2, 6):
        model = Qwen2Model(text(layers)).train()
        model.activation_checkpointing_enable({"use_reentrant": False})
        found.append(kept(model, {"inputs_embeds": hidden, "use_cache": False}))
    assert (found[1] - found[0]) / 4 == 4 * 128 * 400


@pytest.mark.parametrize("gpus", [1, 8, 64])
@pytest.mark.parametrize("offload", [False, True])
def test_states_are_deepspeeds_estimates(gpus, offload):
    train = settings(f"offload_optimizer={str(offload).lower()}")
    wanted = estimate_zero3_model_states_mem_needs(
        8_000, 1_000, gpus, 1, cpu_offload=offload, cpu_offload_params=False
    )
    assert state_bytes(WEIGHTS, train, gpus)[0] == wanted[1]
    for stage in (1, 2):
        train = settings(f"offload_optimizer={str(offload).lower()}", f"zero_stage={stage}")
        wanted = estimate_zero2_model_states_mem_needs(8_000, gpus, 1, cpu_offload=offload)
        assert state_bytes(WEIGHTS, train, gpus)[0] == wanted[1]


def test_a_frozen_weight_costs_its_two_bytes():
    some = Weights(total=8_000, trained=2_000, largest_layer=1_000, vision=False)
    none_frozen = Weights(total=2_000, trained=2_000, largest_layer=1_000, vision=False)
    for stage, shared in ((3, 8), (2, 1)):
        train = settings(f"zero_stage={stage}")
        extra = state_bytes(some, train, 8)[0] - state_bytes(none_frozen, train, 8)[0]
        assert extra == 2 * 6_000 / shared


@pytest.mark.parametrize(
    ("assignments", "bytes_a_weight"),
    [
        (["zero_stage=0", "precision=fp32"], 16),
        (["zero_stage=0"], 20),
        (["zero_stage=2", "bf16_states=true"], 10),
        (["zero_stage=1", "precision=fp32"], 20),
    ],
)
def test_without_an_estimator_it_is_bytes_a_weight(assignments, bytes_a_weight):
    found, source = state_bytes(WEIGHTS, settings(*assignments), 1)
    assert found == bytes_a_weight * 8_000
    assert "bytes a trained weight" in source


@pytest.mark.parametrize("stage", [2, 3])
def test_lean_states_are_smaller_on_any_number_of_gpus(stage):
    for gpus in (1, 2, 8, 32):
        train = settings(f"zero_stage={stage}")
        lean = settings(f"zero_stage={stage}", "bf16_states=true")
        assert state_bytes(WEIGHTS, lean, gpus)[0] < state_bytes(WEIGHTS, train, gpus)[0]


def activations(weights, *assignments):
    train = settings(*assignments)
    row = Row(architecture("0.5b"), weights, number_size(train), 8192)
    return training_bytes(row, train)


def test_activations_follow_what_is_checkpointed_frozen_and_how_many_rows():
    saved = activations(WEIGHTS)
    assert saved < activations(WEIGHTS, "activation_checkpointing=false") / 3
    frozen = Weights(total=8_000, trained=2_000, largest_layer=1_000, vision=False)
    assert activations(frozen) < saved
    assert saved == 2 * activations(WEIGHTS, "micro_batch=1")


@pytest.mark.parametrize("tokens", [1, 8_192, 16_384, 100_000])
def test_a_forward_costs_its_budget_and_a_longer_row_its_own(tokens):
    row = Row(architecture("7b"), WEIGHTS, 2, 8192)
    assert evaluation_bytes(row, tokens) == max(1, tokens // 8192) * evaluation_bytes(row, 8192)


def test_keys_and_values_of_a_token_are_what_a_decoder_keeps():
    """`candidates` against `decoder`, at two numbers of layers, with the model's own cache."""
    few, more = (Qwen2Model(text(layers)) for layers in (1, 3))
    kept = [
        sum(each.keys.nbytes + each.values.nbytes for each in cache.layers)
        for cache in (
            model(input_ids=torch.zeros(1, 50, dtype=torch.int64), use_cache=True).past_key_values
            for model in (few, more)
        )
    ]
    rows = []
    for layers in (1, 3):
        shape = architecture("0.5b")
        shape.text_config = text(layers)
        rows.append(forward_stages(Row(shape, WEIGHTS, 4, 50)))
    grown = rows[1]["candidates"] - rows[0]["candidates"]
    assert grown == 4 * (kept[1] - kept[0])


def seven_billion(layers=None):
    """The real shape, with the given numbers of decoder and tower layers."""
    config = architecture("7b")
    if layers:
        config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers = layers
    return config


@contextmanager
def tracked(config, train):
    """The model of `config` in bf16 on fake tensors, and PyTorch's memory tracker. Gradients of
    weights go as they come, as ZeRO partitions them."""
    with FakeTensorMode(), patch.dict(os.environ, {"TRANSFORMERS_DISABLE_TORCH_CHECK": "1"}):
        with torch.device("cpu"), no_init_weights():
            model = LlavaOnevisionForConditionalGeneration._from_config(
                config, attn_implementation="sdpa", dtype=torch.bfloat16
            ).train(train)
        if train:
            model.activation_checkpointing_enable({"use_reentrant": False})
        for weight in model.parameters():
            weight.register_post_accumulate_grad_hook(lambda w: setattr(w, "grad", None))
        tracker = MemTracker()
        tracker.track_external(model)
        with tracker, torch.set_grad_enabled(train):
            yield model, tracker


def beyond_weights(model, tracker, when="peak"):
    found = max(each["Total"] for each in tracker.get_tracker_snapshot(when).values())
    return found - sum(weight.nbytes for weight in model.parameters())


def longest_rows(config, rows):
    """Inputs of 8192 tokens with images of 37 tiles."""
    return {
        "input_ids": torch.zeros(rows, 8192, dtype=torch.int64),
        "pixel_values": torch.empty(rows, most_tiles(config), 3, 384, 384).bfloat16(),
        "image_sizes": [(2304, 2304)] * rows,
    }


def peak_of_rows(config, rows, train, answers=LONGEST_ANSWER):
    with tracked(config, train) as (model, tracker):
        hidden = model.model(**longest_rows(config, rows), use_cache=False).last_hidden_state
        # As `losses_from`, which picks labelled positions that fake tensors do not know.
        answered = hidden[:, :answers].flatten(0, 1)
        labels = torch.zeros(len(answered), dtype=torch.int64)
        loss = cross_entropy(model.lm_head(answered).float(), labels, reduction="none").sum()
        if train:
            loss.backward()
        return beyond_weights(model, tracker)


def peak_of_prompt(config):
    """The first pass of `candidate_losses`, which keeps keys and values."""
    with tracked(config, False) as (model, tracker):
        model.model(**longest_rows(config, 1), use_cache=True)
        return beyond_weights(model, tracker)


def peak_of_candidates(config):
    """The second: four candidates of 8 tokens after keys and values of 8192 each."""
    text = config.text_config
    with tracked(config, False) as (model, tracker):
        _before = longest_rows(config, 1), torch.empty(1, 8192, text.hidden_size).bfloat16()
        kept = DynamicCache()
        for layer in range(text.num_hidden_layers):
            keys, values = torch.empty(2, 4, text.num_key_value_heads, 8192, 128).bfloat16()
            kept.update(keys, values, layer)
        model.model(
            input_ids=torch.zeros(4, 8, dtype=torch.int64),
            attention_mask=torch.ones(4, 1, 8, 8200, dtype=torch.bool),
            position_ids=torch.arange(8192, 8200).expand(4, -1),
            past_key_values=kept,
            use_cache=True,
        )
        return beyond_weights(model, tracker)


# Few layers of the real shape take seconds; all of them take minutes.
FEW, ALL = (2, 3), None
SHAPES = [pytest.param(FEW, id="few"), pytest.param(ALL, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("layers", SHAPES)
def test_the_papers_peaks_are_those_that_pytorch_tracks(layers):
    """Training, validation, evaluation and export of the paper's preset; states by DeepSpeed."""
    config, shape = paper(), seven_billion(layers)
    model = on_meta(shape)
    prepare(model, config.models.freeze_vision, config.train)
    weights = Weights.of(model)
    found = peaks(config, shape, weights, 8)
    held = found.optimizer_step
    training = peak_of_rows(shape, config.train.rows_at_once(config.models.max_length), True)
    assert found.training - held == pytest.approx(training, rel=0.1)
    rows = config.evaluate.batch_tokens // config.models.max_length
    stages = forward_stages(Row(shape, weights, 2, config.models.max_length))
    forward = peak_of_rows(shape, rows, False)
    assert rows * stages["decoder"] == pytest.approx(forward, rel=0.1)
    prompt, candidates = peak_of_prompt(shape), peak_of_candidates(shape)
    assert stages["question"] == pytest.approx(prompt, rel=0.1)
    assert stages["candidates"] == pytest.approx(candidates, rel=0.1)
    print([round(each / 2**30, 2) for each in (training, forward, prompt, candidates)])
    print({name: round(each / 2**30, 2) for name, each in stages.items()})
    largest = max(forward, rows * prompt, rows * candidates)
    assert found.validation - held == pytest.approx(largest, rel=0.1)
    assert found.evaluation == pytest.approx(2 * weights.total + largest, rel=0.1)
    assert found.export_host == 2 * sum(weight.numel() for weight in model.state_dict().values())


@pytest.mark.parametrize(("answers", "layers"), [(16, (2, 6)), (2048, (2, 2))])
def test_long_answers_and_deep_towers_are_counted(answers, layers):
    shape = seven_billion(layers)
    train = settings("micro_batch=1")
    row = Row(shape, WEIGHTS, 2, 8192)
    with patch("qsit_ray.train.memory.LONGEST_ANSWER", answers):
        counted = training_bytes(row, train)
    assert counted == pytest.approx(peak_of_rows(shape, 1, True, answers), rel=0.1)


def test_a_models_weights_are_counted_once_where_they_are_tied():
    table = torch.nn.Embedding(10, 4)
    head = torch.nn.Linear(4, 10, bias=False)
    head.weight = table.weight
    model = torch.nn.ModuleDict({"table": table, "head": head, "rest": torch.nn.Linear(4, 4)})
    model["rest"].bias.requires_grad = False
    assert Weights.of(model) == Weights(40 + 20, 40 + 16, 40, vision=False)
