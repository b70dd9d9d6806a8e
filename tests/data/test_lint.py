"""Every planted trap is listed with its place, and a clean file has none."""

import json

import pytest

from qsit_ray.data.lint import lint
from qsit_ray.errors import InputError

GOOD = {
    "image": "a.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat?"},
        {"from": "gpt", "value": "Blur."},
    ],
}


def traps(tmp_path, records, yaml=None):
    (tmp_path / "d2.json").write_text(json.dumps(records))
    file = tmp_path / "d2.json"
    if yaml is not None:
        file = tmp_path / "mix.yaml"
        file.write_text(f"datasets:\n  - {{json_path: d2.json, {yaml}}}\n")
    return lint(file)


@pytest.mark.parametrize("yaml", [None, "sampling_strategy: all", "sampling_strategy: 'first:50%'"])
def test_a_clean_file_has_no_trap(yaml, tmp_path):
    assert traps(tmp_path, [GOOD, GOOD], yaml) == []


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("sampling_strategy: frist:1", "unknown: all 2 are taken"),
        ("sampling_strategy: 'end:0'", "takes all records"),
        ("sampling_strategy: 'first:0'", "takes no records"),
        ("sampling_strategy: 'random:1'", "no seed"),
        ("sampling_strategy: 'first:3'", "more than the 2"),
        ("sampling_strategy: 'first:101%'", "more than the 2"),
        ("weight: 2", "weight is not read"),
    ],
)
def test_traps_of_a_yaml(yaml, said, tmp_path):
    (trap,) = traps(tmp_path, [GOOD, GOOD], yaml)
    assert said in trap.what
    assert trap.place.endswith("mix.yaml, data set 1")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (GOOD | {"image": ["a.jpg", "b.jpg"]}, "2 images but <image> 1 times"),
        (GOOD | {"image": None}, "0 images but <image> 1 times"),
        (GOOD | {"video": "a.mp4"}, "a video"),
        (GOOD | {"conversations": GOOD["conversations"][1:], "image": None}, "do not alternate"),
        (
            GOOD | {"conversations": [GOOD["conversations"][0], {"from": "gpt", "value": " "}]},
            "an empty turn",
        ),
        ("x", "no list of conversations"),
    ],
)
def test_traps_of_a_record(record, said, tmp_path):
    (trap,) = traps(tmp_path, [GOOD, record])
    assert said in trap.what
    assert trap.place.endswith("d2.json, record 2")


def test_q_aligns_image_token_is_a_trap_elsewhere(tmp_path):
    record = json.loads(json.dumps(GOOD).replace("<image>", "<|image|>"))
    assert any("<|image|>" in trap.what for trap in traps(tmp_path, [record]))


def test_a_file_that_cant_be_read_is_refused(tmp_path):
    (tmp_path / "mix.yaml").write_text("a: [")
    with pytest.raises(InputError):
        lint(tmp_path / "mix.yaml")
