"""Records of other projects become records in LLaVA's shape, with the same text and images."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.data.records import in_llavas_shape

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Blur."}]


@pytest.mark.parametrize(
    "record",
    [
        {"image": "a.jpg", "conversations": TURNS},
        {"image": ["a.jpg"], "conversations": TURNS},
        {
            "image": "a.jpg",
            "conversations": [
                {"from": "user", "value": "<|image|>\nWhat?"},
                {"from": "assistant", "value": "Blur."},
            ],
        },
        {
            "images": ["a.jpg"],
            "messages": [
                {"role": "user", "content": "<image>\nWhat?"},
                {"role": "assistant", "content": "Blur."},
            ],
        },
        {
            "images": [{"path": "a.jpg"}],
            "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Blur."}]},
            ],
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "file://a.jpg"}},
                        {"type": "text", "text": "What?"},
                    ],
                },
                {"role": "assistant", "content": "Blur."},
            ]
        },
    ],
)
def test_every_shape_gives_the_same_record(record):
    before = copy.deepcopy(record)
    found = in_llavas_shape(record)
    assert found["image"] == ["a.jpg"]
    assert found["conversations"] == TURNS
    assert record == before


def test_a_windows_path_is_the_same_path():
    found = in_llavas_shape({"image": "koniq\\a b.jpg", "conversations": TURNS})
    assert found["image"] == ["koniq/a b.jpg"]


def test_other_keys_stay():
    found = in_llavas_shape({"id": "x", "level_probs": [1], "conversations": TURNS, "image": "a"})
    assert found["id"] == "x"
    assert found["level_probs"] == [1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["messages", "conversations", "role", "from", "content", "value", "image", "images",
             "type", "text", "image_url", "path", "url", "video"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_anything_else_is_a_reason(value):
    try:
        found = in_llavas_shape(value)
    except ValueError as error:
        assert str(error)
    else:
        assert all(isinstance(name, str) for name in found["image"])
