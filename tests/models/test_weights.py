"""A checkpoint is believed only where its weights are exactly the model's."""

import json

import pytest
import sparse_checkpoint
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.models.headers import INDEX, WHOLE, weight_files
from qsit_ray.models.weights import check_loaded, check_values, check_weights, read_config

EMBEDDING = "language_model.model.embed_tokens.weight"
HEAD = "language_model.lm_head.weight"
TOWER = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"


def check(folder):
    check_weights(folder, read_config(folder))


@pytest.mark.parametrize("size", ["0.5b", "7b"])
def test_the_released_layouts_are_whole(tmp_path, size):
    """16 GB for the 7B, with the names of the released files; the 0.5B's head is its embedding."""
    folder = sparse_checkpoint.write(tmp_path / "base", size)
    names = sparse_checkpoint.shapes(size)
    assert {EMBEDDING, TOWER} <= names.keys()
    assert (HEAD in names) == (size == "7b")
    check(folder)


def test_a_tied_head_may_be_in_the_files_as_well(tmp_path):
    def both(shapes):
        return shapes | {HEAD: shapes[EMBEDDING]}

    check(sparse_checkpoint.write(tmp_path / "base", "0.5b", both))


CHANGES = {
    "missing: 1, such as lm_head.weight": lambda w: {n: s for n, s in w.items() if n != HEAD},
    "missing: 421, such as": lambda w: {n: s for n, s in w.items() if "vision_tower" not in n},
    "of another shape: 1, such as model.language_model.embed_tokens.weight": (
        lambda w: w | {EMBEDDING: (151_647, 3584)}
    ),
    "not the model's: 1, such as": lambda w: w | {f"base_model.model.{TOWER}": (1,)},
}


@pytest.mark.parametrize("message", CHANGES)
def test_of_the_7b_what_is_missing_wrong_or_too_much_is_named(tmp_path, message):
    folder = sparse_checkpoint.write(tmp_path / "base", "7b", CHANGES[message])
    with pytest.raises(InputError, match=f"^{folder}: .*weights {message}"):
        check(folder)


def test_a_file_of_the_7b_that_is_missing_or_cut_is_named(tmp_path):
    folder = sparse_checkpoint.write(tmp_path / "base", "7b")
    file = folder / "model-00003-of-00004.safetensors"
    with file.open("rb+") as stream:
        stream.truncate(file.stat().st_size - 1)
    with pytest.raises(InputError, match=f"^{file}: cut or not a safetensors file"):
        check(folder)
    file.unlink()
    with pytest.raises(InputError, match=f"^{folder}: 1 of 4 files of weights are missing.*00003"):
        check(folder)


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    load.save(checkpoint.model, checkpoint.processor, folder)
    return folder


@pytest.fixture(scope="module")
def spoilt(whole, tmp_path_factory):
    """A checkpoint with one weight changed by a function, or left out where that returns None."""
    folder = tmp_path_factory.mktemp("models") / "spoilt"
    folder.mkdir()
    (folder / "config.json").write_text((whole / "config.json").read_text())
    weights = load_file(whole / WHOLE)

    def make(name, change):
        changed = change(weights[name].clone())
        kept = {n: w for n, w in weights.items() if n != name}
        save_file(kept | ({} if changed is None else {name: changed}), folder / WHOLE)
        return folder

    return weights, make


# The image of what may go wrong with one weight, whichever it is.
WRONG = {
    "missing": lambda w: None,
    "of another shape": lambda w: torch.cat([w, w[:1]]),
    "of another type": lambda w: w.to(torch.int8),
}


@settings(deadline=None, max_examples=30)
@given(data=st.data(), kind=st.sampled_from(sorted(WRONG)))
def test_no_weight_can_be_wrong_without_a_word(spoilt, data, kind):
    weights, make = spoilt
    name = data.draw(st.sampled_from(sorted(weights)))
    folder = make(name, WRONG[kind])
    # Without the embedding, the output layer that is tied to it has no weights either.
    lost = 2 if kind == "missing" and name.endswith("embed_tokens.weight") else 1
    with pytest.raises(InputError, match=f"^{folder}: .*weights {kind}: {lost}, such as"):
        check(folder)


@settings(deadline=None, max_examples=30)
@given(data=st.data(), value=st.sampled_from([float("nan"), float("inf"), float("-inf")]))
def test_one_number_that_is_not_finite_is_found_in_any_weight(spoilt, data, value):
    weights, make = spoilt
    name = data.draw(st.sampled_from(sorted(weights)))
    place = data.draw(st.integers(0, weights[name].numel() - 1))

    def change(weight):
        weight.view(-1)[place] = value
        return weight

    folder = make(name, change)
    with pytest.raises(InputError, match=f"^{folder}: .*weights not finite: 1, such as {name}"):
        check_values(folder)


@pytest.mark.parametrize(("rank", "sound"), [(0, False), (1, True)])
def test_of_a_parted_weight_only_what_a_rank_holds_counts(monkeypatch, tmp_path, rank, sound):
    """Three numbers on two ranks: DeepSpeed leaves the fourth unwritten."""
    model = torch.nn.Linear(3, 1, bias=False)
    model.weight.ds_numel = 3
    model.weight.ds_tensor = torch.tensor([1.0, torch.nan])
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    if sound:
        check_loaded(tmp_path, model)
    else:
        with pytest.raises(InputError, match="not finite: 1, such as weight"):
            check_loaded(tmp_path, model)


def test_a_sound_checkpoint_passes(whole):
    check(whole)
    check_values(whole)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, f"no {WHOLE} and no {INDEX}$"),
        ({"pytorch_model.bin": "x"}, "pytorch_model.bin is read by no command"),
        ({"adapter_config.json": "{}", WHOLE: "x"}, "an adapter .* merge it into its base model"),
        ({INDEX: "{}"}, "no weight_map"),
        ({INDEX: json.dumps({"weight_map": {}})}, "names no file"),
    ],
)
def test_a_folder_without_whole_weights_says_what_it_is(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"^{tmp_path}.*: .*{message}"):
        weight_files(tmp_path)


@pytest.mark.parametrize("kind", ["llava", "llava_qwen", None])
def test_another_kind_of_model_is_refused_by_its_type(tmp_path, kind):
    """A folder of lmms-lab is of the type llava_qwen, which transformers does not know."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(InputError, match=f"^{tmp_path}: its model type is {kind}; expected llava_"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", '{"model_type": "llava_onevision", "text_config": 3}'])
def test_an_unreadable_configuration_is_one_line_with_its_place(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=f"^{tmp_path}") as error:
        read_config(tmp_path)
    assert "\n" not in str(error.value)
