"""Checkpoints are ordinary Hugging Face folders."""

import copy
import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration

from qsit_ray.data.encode import Encoder, collate
from qsit_ray.demo import models
from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.models.load import check_vocabulary
from qsit_ray.models.loss import tensors

PIXELS = ("pixel_values", "image_sizes")


def their_inputs(processor, image, text):
    """What transformers alone makes of an image and a question in the chat form."""
    turn = {"role": "user", "content": [{"type": "text", "text": text}]}
    chat = processor.apply_chat_template([turn], add_generation_prompt=True)
    inputs = processor(images=Image.open(image), text=chat, return_tensors="pt")
    return {name: inputs[name] for name in ("input_ids", "attention_mask", *PIXELS)}


def test_what_is_saved_loads_and_answers(checkpoint, images, tmp_path):
    folder = tmp_path / "model"
    load.save(checkpoint.model, checkpoint.processor, folder)
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("*.bin"))
    back = load.load(folder)
    assert back.processor.num_image_tokens == 16
    assert back.processor.image_token_id == checkpoint.processor.image_token_id
    row = Encoder(back.processor, images, 512).prompt("a.png", "<image>\nWhat?")
    batch = tensors(collate([row], 0))
    del batch["labels"]
    theirs = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        logits = checkpoint.model(**batch).logits
        assert torch.equal(back.model(**batch).logits, logits)
        inputs = their_inputs(back.processor, images / "a.png", "<image>\nWhat?")
        assert torch.equal(theirs(**inputs).logits, logits)
        replies = theirs.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert replies.shape[1] > batch["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("gpu", "dtype", "installed", "wanted"),
    [
        (True, torch.bfloat16, True, "flash_attention_2"),
        (True, torch.float32, True, "sdpa"),  # flash-attn computes in 16 bits only
        (True, torch.bfloat16, False, "sdpa"),
        (False, torch.bfloat16, True, "sdpa"),
    ],
)
def test_flash_attention_is_taken_where_it_can_run(monkeypatch, gpu, dtype, installed, wanted):
    monkeypatch.setattr(load, "is_flash_attn_2_available", lambda: installed)
    assert load.attention(gpu, dtype) == wanted


def test_the_attention_is_not_saved(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path / "base")
    saved = []
    for attention in ("sdpa", "eager"):
        other = load.load(tmp_path / "base", attention=attention)
        assert other.model.config._attn_implementation == attention
        load.save(other.model, other.processor, tmp_path / attention)
        saved.append((tmp_path / attention / "config.json").read_text())
    assert saved[0] == saved[1]


def test_a_state_dict_replaces_the_weights(checkpoint, tmp_path):
    zeros = {k: torch.zeros_like(v) for k, v in checkpoint.model.state_dict().items()}
    load.save(checkpoint.model, checkpoint.processor, tmp_path, state_dict=zeros)
    assert all(not p.any() for p in load.load(tmp_path).model.parameters())


def test_tied_embeddings_stay_tied(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path)
    model = load.load(tmp_path).model
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_a_folder_that_is_not_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        load.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ValueError, match="model type is vit"):
        load.load(tmp_path)


NAN = float("nan")
SPOILT = {
    "no tower": (lambda w: {k: t for k, t in w.items() if "vision_tower" not in k}, "missing"),
    "projector only": (lambda w: {k: t for k, t in w.items() if "projector" in k}, "missing"),
    "PEFT's prefix": (lambda w: {f"base_model.model.{k}": t for k, t in w.items()}, "missing"),
    "a weight too many": (lambda w: w | {"model.extra": torch.ones(1)}, "not the model's"),
    "not finite": (
        lambda w: {k: t * NAN if "projector" in k else t for k, t in w.items()},
        "finite",
    ),
    "a larger vocabulary": (
        lambda w: {k: torch.cat([t, t[:16]]) if "embed" in k else t for k, t in w.items()},
        "of another shape",
    ),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_weights_that_are_not_exactly_the_models_are_refused_by_name(checkpoint, tmp_path, spoilt):
    change, message = SPOILT[spoilt]
    load.save(checkpoint.model, checkpoint.processor, tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    with pytest.raises(InputError, match=f"^{tmp_path}: .*{message}"):
        load.load(tmp_path)


@pytest.mark.parametrize("text", ["", "version https://git-lfs.github.com/spec/v1\nsize 123\n"])
def test_a_file_of_weights_that_is_none_is_an_error_with_the_folder(checkpoint, tmp_path, text):
    load.save(checkpoint.model, checkpoint.processor, tmp_path)
    (tmp_path / "model.safetensors").write_text(text)
    with pytest.raises(InputError, match=f"^{tmp_path}/model.safetensors: "):
        load.load(tmp_path)


def test_the_primary_is_about_four_times_the_proxy(checkpoint):
    tokenizer = checkpoint.processor.tokenizer
    proxy, primary = (
        sum(p.numel() for p in models.make_model(models.DECODERS[n], tokenizer, 0).parameters())
        for n in ("proxy", "primary")
    )
    assert 3.5 < primary / proxy < 4.5


@pytest.fixture
def saved(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path)
    return str(tmp_path)


def refused(processor, saved, message):
    with pytest.raises(InputError, match=message) as error:
        check_vocabulary(processor, saved)
    assert saved in str(error.value)


def test_a_models_own_tokenizer_passes(saved):
    check_vocabulary(load.load_processor(saved), saved)


def test_a_larger_vocabulary_is_another_models(saved):
    processor = load.load_processor(saved)
    processor.tokenizer.add_tokens([f"<{n}>" for n in range(1000)])
    refused(processor, saved, "another model's tokenizer")


def test_a_missing_image_token_is_named(checkpoint, saved):
    processor = copy.copy(load.load_processor(saved))
    config = processor.tokenizer.backend_tokenizer.to_str().replace("<image>", "<picture>")
    processor.tokenizer = type(processor.tokenizer)(
        tokenizer_object=type(processor.tokenizer.backend_tokenizer).from_str(config)
    )
    refused(processor, saved, "no token <image>")


def test_another_number_of_the_image_token_is_named(checkpoint, saved):
    processor = load.load_processor(saved)
    model = copy.deepcopy(checkpoint.model)
    model.config.image_token_id = 77
    model.config.image_token_index = 77
    model.config.save_pretrained(saved)
    refused(processor, saved, "the model expects 77")
