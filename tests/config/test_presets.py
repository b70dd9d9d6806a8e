"""The presets: whole configurations, and variants that differ in what they name."""

import pytest

from qsit_ray.config import presets
from qsit_ray.config.changes import differ
from qsit_ray.config.config import Config
from qsit_ray.config.files import override, validated


def names():
    return list(presets.papers())


def test_the_papers_grids_are_114_trials():
    paper = presets.paper()
    spaces = [paper.space(axis) for axis in ("interpreting_general", "interpreting_scoring")]
    assert sum(len(space.ratios) * len(space.seeds) for space in spaces) == 114
    assert all(space.degree == 4 and space.coordinate == "ratio" for space in spaces)


@pytest.mark.parametrize("name", [n for n in names() if n.startswith("paper-without-")])
def test_an_ablation_changes_only_the_mix_and_the_controller(name):
    one, other = (config.model_dump() for config in (presets.paper(), presets.resolve(name)))
    keys = {key for key, *_ in differ(one, other)} - {"preset"}
    assert keys
    assert all(key.split(".")[0] == "mix" or key == "train.controller" for key in keys)


@pytest.mark.parametrize(
    ("name", "empty"),
    [("scoring", {"scoring"}), ("interpreting", {"interpreting"}), ("general", {"general"})],
)
def test_leaving_a_domain_out_leaves_the_others_at_the_papers_mix(name, empty):
    mix = presets.resolve(f"paper-without-{name}").mix
    paper = {"scoring": 1.0, "interpreting": 2.5, "general": 1.04}
    assert mix == {domain: 0.0 if domain in empty else paper[domain] for domain in paper}


def test_without_fine_adjustment_the_search_stays():
    config = presets.resolve("paper-without-fine-adjustment")
    assert config.mix is None
    assert config.train.controller is None
    assert config.has_proxies


def test_the_baselines_train_on_one_domain():
    for name, domain in (("q-align-like", "scoring"), ("q-instruct-like", "interpreting")):
        mix = presets.resolve(f"paper-{name}").mix
        assert {key for key, ratio in mix.items() if ratio} == {domain}


def test_the_training_sets_are_koniq_spaq_and_both():
    koniq, spaq, both = (
        presets.resolve(f"paper-trained-on-{name}").data.scoring
        for name in ("koniq", "spaq", "both")
    )
    assert both == koniq + spaq


@pytest.mark.parametrize("name", names())
def test_every_variant_is_a_preset_that_validates(name):
    config = presets.resolve(name)
    assert config.preset == name
    assert validated(Config, config.model_dump(mode="json"), name) == config


def test_a_fixed_mix_can_be_set_on_the_command_line():
    mix = "{scoring: 1, interpreting: 0.5, general: 0}"
    assert override(presets.demo(), [f"mix={mix}"]).mix["interpreting"] == 0.5
