"""LLaVA-NeXT's data YAML: exact sizes, seeded draws, and nothing passed over in silence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.data import llava_next
from qsit_ray.data.llava_next import Part
from qsit_ray.errors import InputError


def taken(tmp_path, strategy, records=50, seed=0):
    (tmp_path / "d2.json").write_text(json.dumps([{"id": n} for n in range(records)]))
    mix = tmp_path / "mix.yaml"
    mix.write_text(f"datasets:\n  - json_path: d2.json\n    sampling_strategy: {strategy}\n")
    return [record["id"] for _, _, record in llava_next.records(str(mix), seed)]


@pytest.mark.parametrize(
    ("strategy", "ids"),
    [
        ("all", list(range(50))),
        ("first:3", [0, 1, 2]),
        ("end:3", [47, 48, 49]),
        ('"first:5%"', [0, 1, 2]),  # 2.5 records, rounded up as there
        ('"end:100%"', list(range(50))),
    ],
)
def test_a_rule_takes_its_part(strategy, ids, tmp_path):
    assert taken(tmp_path, strategy) == ids


def test_a_random_part_is_the_same_for_the_same_seed(tmp_path):
    first = taken(tmp_path, '"random:22%"')
    assert len(set(first)) == len(first) == 11
    assert first == sorted(first) == taken(tmp_path, '"random:22%"')
    assert first != taken(tmp_path, '"random:22%"', seed=1)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("end:0", "takes no part"),
        ('"random:0%"', "takes no part"),
        ('"random:120%"', "takes no part"),
        ("first:51", "51 of 50 records"),
        ("frist:3", "expected all, first:N"),
        ("random", "expected all, first:N"),
        ('"first:2.5%"', "expected all, first:N"),
        ("first:-3", "expected all, first:N"),
    ],
)
def test_what_llava_next_would_pass_over_is_refused(strategy, said, tmp_path):
    with pytest.raises(InputError, match=said) as found:
        taken(tmp_path, strategy)
    assert "mix.yaml, data set 1" in str(found.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "datasets: {}", "datasets: []", "datasets: [{path: a.json}]", "datasets: [1]",
     "datasets: [{json_path: a.json, weight: 2}]", "datasets: [{json_path: a.json}]\nmore: 1"],
)  # fmt: skip
def test_another_yaml_is_refused(text, tmp_path):
    file = tmp_path / "mix.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"mix\.yaml"):
        list(llava_next.records(str(file), 0))


@given(
    st.integers(0, 500),
    st.sampled_from(["first", "end", "random"]),
    st.integers(1, 100),
    st.booleans(),
)
def test_sizes_are_exact(records, rule, count, percent):
    part = Part(None, rule, count, percent)
    wanted = -(-count * records // 100) if percent else count
    if wanted > records:
        with pytest.raises(ValueError):
            part.taken(records, (0, 0))
        return
    taken = part.taken(records, (0, 0))
    assert (len(taken), taken.sum()) == (records, wanted)
