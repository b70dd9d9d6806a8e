"""What models are asked, as a setting: the paper's by default, and mistakes told by their key."""

import re

import pytest

from qsit_ray.config.config import Config
from qsit_ray.config.files import override, validated
from qsit_ray.config.presets import demo
from qsit_ray.config.prompts import Prompts
from qsit_ray.errors import InputError
from qsit_ray.prompts import PAPER, multiple_choice_prompt

LEVELS = ["awful", "dull", "plain", "lovely", "great"]


def test_the_papers_prompts_are_the_default_and_no_input():
    assert Prompts().profile is PAPER
    assert Prompts().inputs == {}
    written = demo().model_dump(mode="json")
    del written["prompts"]  # a configuration from before they were settings
    assert validated(Config, written, "old").prompts == Prompts()


def test_own_prompts_are_a_profile_and_an_input():
    own = Prompts(stem="Its beauty is", levels=LEVELS)
    assert (own.profile.words, own.profile.stem) == (tuple(LEVELS), "Its beauty is")
    assert own.profile.weights == PAPER.weights
    assert own.inputs["prompts"]["levels"] == LEVELS


def test_a_form_of_closed_questions_has_the_lettered_options():
    own = Prompts(choice="<image>\nOptions:\n{options}\nTo {{choose}}: {question}")
    asked = multiple_choice_prompt("Sharp {or} not?", ["yes", "{no}"], own.profile.choice)
    assert asked == "<image>\nOptions:\nA. yes\nB. {no}\nTo {choose}: Sharp {or} not?"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("question", "How beautiful is it?", "<image> must be its first or its last line"),
        ("question", "Is <image> beautiful?", "<image> must be its first or its last line"),
        ("question", "<image>\nOr <image>?", "and once"),
        ("question", "<image>\n ", "no question"),
        ("stem", "Its beauty is ", "no beginning of an answer"),
        ("levels", [*LEVELS[:4], "Lovely"], "two are the same word"),
        ("levels", LEVELS[:4], "prompts.levels"),
        ("levels", [*LEVELS[:4], " "], "' ' is no level word"),
        ("levels", [*LEVELS[:4], "score"], "'score' is another column"),
        ("levels", [*LEVELS[:4], "transient"], "'transient' is another column"),
        ("levels", [*LEVELS[:4], "<|im_end|>"], "is no level word"),
        ("stem", "From great to awful it is", "has the level words"),
        ("stem", "It<|im_end|>", "begins a token of the chat form"),
        ("choice", "<image>\n{question!r}\n{options}", "and no others"),
        ("choice", "<image>\n{question}\n{options:d}", "and no others"),
        ("choice", "<image>\n{question}", "{question} and {options} must be in it"),
        ("choice", "<image>\n{question}\n{options}\n{other}", "and no others"),
        ("choice", "<image>\n{question}\n{options.real}", "and no others"),
        ("choice", "<image>\n{question}\n{options", "for a brace"),
        ("choice", "{question}\n{options}\n<image>", "<image> must be its first line"),
    ],
)
def test_a_mistake_is_told_by_its_key(key, value, said):
    with pytest.raises(InputError, match=re.escape(said)) as found:
        changed = {"levels": LEVELS, key: value}
        validated(Config, {**demo().model_dump(mode="json"), "prompts": changed}, "mine")
    assert "mine: prompts" in str(found.value) and key in str(found.value)


def test_pools_of_ones_own_have_no_prompts(tmp_path):
    pools = {"source": "pools", "pools": {"a": ["a.json"], "b": ["b.json"]}}
    values = demo().model_dump(mode="json") | {"data": pools, "tasks": ["a", "b"]}
    with pytest.raises(InputError, match="pools has no scores"):
        validated(Config, {**values, "prompts": {"stem": "It is"}}, "mine")


def test_words_can_be_set_one_by_one():
    changed = override(demo(), ["prompts.stem=It looks", f"prompts.levels=[{', '.join(LEVELS)}]"])
    assert changed.prompts.profile.words == tuple(LEVELS)
