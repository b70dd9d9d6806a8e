"""Labels fall on answers only, images get as many placeholders as the model makes features."""

import numpy as np
import pytest
import torch
from PIL import Image

from qsit_ray.data.encode import IGNORED, Encoder, collate
from qsit_ray.demo import models
from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.models.loss import tensors
from qsit_ray.models.tiles import Normalisation, accept_tiles


@pytest.fixture(scope="module")
def model():
    return models.make_model(models.DECODERS["proxy"], make_tokenizer([], 0), 0)


@pytest.fixture(scope="module")
def processor(model):
    return models.processor_of(model, make_tokenizer([], 0))


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path


def row(*texts, images=("a.png",)):
    turns = [
        {"from": "human" if i % 2 == 0 else "gpt", "value": text} for i, text in enumerate(texts)
    ]
    return {"id": "r1", "images": [{"path": name} for name in images], "conversation": turns}


def test_only_answers_and_their_end_are_labelled(processor, root):
    encoder = Encoder(processor, root, 512)
    out = encoder.encode(row("<image>\nIs it red?", "yes, it is", "Sure?", "I am."))
    labelled = out["labels"][out["labels"] != IGNORED]
    assert processor.tokenizer.decode(labelled) == "yes, it is<|im_end|>I am.<|im_end|>"
    assert (out["input_ids"][out["labels"] != IGNORED] == labelled).all()
    text = processor.tokenizer.decode(out["input_ids"]).replace("<image>", "")
    assert text == (
        "<|im_start|>user\n\nIs it red?<|im_end|>\n<|im_start|>assistant\nyes, it is<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nI am.<|im_end|>\n"
    )


def test_the_text_is_the_chat_templates(processor, root):
    out = Encoder(processor, root, 512).prompt("a.png", "<image>\nWhat?", "The")
    turns = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": "What?"}],
        }
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True) + "The"
    theirs = processor(images=Image.open(root / "a.png"), text=text, return_tensors="np")
    assert (out["input_ids"] == theirs["input_ids"][0]).all()
    normalised = Normalisation.of(processor.image_processor)(torch.from_numpy(out["pixel_values"]))
    assert np.array_equal(normalised, theirs["pixel_values"][0])
    assert (out["labels"] == IGNORED).all()


def test_pictures_from_files_and_from_memory_are_upright(processor, root):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn, as cameras store portraits
    picture = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    picture.save(root / "turned.png", exif=exif)
    encoder = Encoder(processor, root, 512)
    expected = encoder.picture(picture.transpose(Image.Transpose.ROTATE_270))
    for turned in ("turned.png", Image.open(root / "turned.png")):
        found = encoder.picture(turned)
        assert found.size == (64, 32)
        assert np.array_equal(found.pixel_values, expected.pixel_values)


def test_a_demo_crop_makes_36_image_tokens(processor, root):
    out = Encoder(processor, root, 512).encode(row("What?\n<image>", "x"))
    assert (out["input_ids"] == processor.image_token_id).sum() == 36
    assert out["pixel_values"].shape == (5, 3, 32, 32)
    assert out["pixel_values"].dtype == np.uint8
    assert out["image_sizes"].tolist() == [[64, 64]]


def test_images_of_other_tiles_collate_and_pass_the_model(root):
    tokenizer = make_tokenizer([], 0)
    model = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    pinpoints = [[32, 32], [32, 64], [64, 32], [64, 64], [32, 96]]
    model.config.image_grid_pinpoints = pinpoints
    model.config.vision_aspect_ratio = "anyres_max_9"
    processor = models.processor_of(model, tokenizer)
    processor.image_processor.image_grid_pinpoints = pinpoints
    accept_tiles(model, processor.image_processor)
    rng = np.random.default_rng(0)
    for name, size in {"b.png": (20, 60), "c.png": (31, 29), "d.png": (100, 130)}.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(root / name)
    encoder = Encoder(processor, root, 512)
    rows = [encoder.encode(row("<image>\nQ", "A", images=[n])) for n in ("b.png", "c.png", "d.png")]
    assert len({r["pixel_values"].shape[0] for r in rows}) > 1
    batch = {k: torch.from_numpy(v) for k, v in collate(rows, 0).items()}
    with torch.no_grad():
        together = model(**batch).logits
        alone = model(**{k: torch.from_numpy(v) for k, v in collate(rows[:1], 0).items()}).logits
    assert torch.allclose(together[0, : alone.shape[1]], alone[0], atol=1e-4)


def test_a_row_without_an_image_does_not_see_the_blank_one(model, processor, root):
    encoder = Encoder(processor, root, 512)
    text_only = encoder.encode(row("Q", "A b c", images=[]))
    assert (text_only["input_ids"] == processor.image_token_id).sum() == 36
    assert not text_only["attention_mask"][-36:].any()
    batch = {k: torch.from_numpy(v) for k, v in collate([text_only], 0).items()}
    text = {k: batch[k][:, :-36] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.allclose(model(**batch).logits[:, :-36], model(**text).logits, atol=1e-5)


def test_a_row_of_several_images_is_the_processors(model, processor, root):
    """Each is padded to a square and is one tile, also in a batch with rows of one and of none."""
    rng = np.random.default_rng(1)
    for name, size in {"b.png": (20, 60), "c.png": (700, 300)}.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(root / name)
    shown = ["a.png", "b.png", "c.png"]
    encoder = Encoder(processor, root, 512)
    ours = encoder.encode(row("<image><image>\nAnd <image>?", "A", images=shown))
    text = "<image><image>\nAnd <image>?"
    theirs = processor(
        images=[[Image.open(root / name) for name in shown]],
        text=f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n",
        return_tensors="np",
    )
    assert ours["input_ids"].tolist() == theirs["input_ids"][0].tolist()
    assert ours["image_sizes"].tolist() == theirs["image_sizes"].tolist()
    normalised = Normalisation.of(processor.image_processor)(torch.from_numpy(ours["pixel_values"]))
    assert np.array_equal(normalised, np.concatenate(theirs["pixel_values"]))
    assert (ours["labels"] != IGNORED).sum() == 2  # A and its end

    others = [encoder.encode(row("<image>\nQ", "A")), encoder.encode(row("Q", "A", images=[]))]
    accept_tiles(model, processor.image_processor)
    batches = [tensors(collate(rows, 0)) for rows in ([*others, ours], [ours])]
    with torch.no_grad():
        together, alone = (model(**batch).logits for batch in batches)
    length = len(ours["input_ids"])
    assert torch.allclose(together[2, :length], alone[0], atol=1e-4)


def test_collate_pads_on_the_right(processor, root):
    encoder = Encoder(processor, root, 512)
    long, short = encoder.encode(row("<image> Q Q Q", "A A")), encoder.encode(row("<image>", "A"))
    batch = collate([long, short], 7)
    pad = len(long["input_ids"]) - len(short["input_ids"])
    assert batch["input_ids"][1, -pad:].tolist() == [7] * pad
    assert batch["attention_mask"].sum(1).tolist() == [
        len(long["input_ids"]),
        len(short["input_ids"]),
    ]
    assert (batch["labels"][1, -pad:] == IGNORED).all()
    assert batch["pixel_values"].shape == (10, 3, 32, 32)
    assert batch["batch_num_images"].tolist() == [1, 1]


def test_the_cache_keeps_pixels(processor, root):
    cache = {}
    encoder = Encoder(processor, root, 512, cache)
    first = encoder.encode(row("<image>", "A"))
    (root / "a.png").unlink()
    assert np.array_equal(
        encoder.encode(row("<image>", "A"))["pixel_values"], first["pixel_values"]
    )
    assert list(cache) == ["a.png"]


def test_an_image_alone_and_one_of_several_are_cached_apart(processor, root):
    cached, plain = (Encoder(processor, root, 512, cache) for cache in ({}, None))
    for texts, shown in [(["<image><image>", "A"], ["a.png"] * 2), (["<image>", "A"], ["a.png"])]:
        for encoder in (cached, cached, plain):
            encoded = encoder.encode(row(*texts, images=shown))
            tiles = 2 if len(shown) == 2 else 5
            assert len(encoded["pixel_values"]) == tiles


def test_cut_answers_are_counted_and_empty_ones_refused(processor, root):
    whole = len(Encoder(processor, root, 512).encode(row("<image>", "A B C"))["input_ids"])
    encoder = Encoder(processor, root, whole - 3)
    encoder.encode(row("<image>", "A B C"))
    assert encoder.cut == 1
    with pytest.raises(ValueError, match="max_length 20"):
        Encoder(processor, root, 20).encode(row("<image>", "A"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row("Q", "A"), "expected <image> once"),
        (row("<image><image>", "A"), "found it 2 times"),
        (row("<image>", "A", images=[]), "the row has no image"),
        (row("<image>", "A", "more"), "must alternate"),
        (row("<image>", "A", images=["gone.png"]), "gone.png: image file is missing"),
        (row("<image>", "A", images=["bad.png"]), "bad.png: not a readable image"),
        (row("<image>", "A", images=["half.png"]), "half.png: not a readable image"),
    ],
)
def test_bad_rows_are_refused_by_name(processor, root, bad, said):
    (root / "bad.png").write_text("no image")
    (root / "half.png").write_bytes((root / "a.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match=said):
        Encoder(processor, root, 512).encode(bad)
