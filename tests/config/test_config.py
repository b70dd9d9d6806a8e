"""The configuration is strict, and survives its own YAML."""

import pytest
import yaml

from qsit_ray.config import files, presets
from qsit_ray.errors import InputError


def test_yaml_out_and_in_again_is_the_same():
    demo = presets.demo()
    assert files.parse(yaml.safe_load(files.dump(demo)), "demo") == demo


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("serch.max_steps=3", "serch: unknown key"),
        ("search.max_step=3", "search.max_step: unknown key"),
        ("search.max_steps=0", "search.max_steps: .* got 0"),
        ("search.max_steps=many", "search.max_steps: .* got 'many'"),
        ("search.interpreting_general.ratios=[1, -2]", "ratios.1: .* greater than 0"),
        ("search.interpreting_general.ratios=[1, 1]", "ratios: values repeat"),
        ("search.interpreting_general.axis=interpreting_scoring", "interpreting_general: its axis"),
        ("train.workers=3", "train: training.batch_size 16 is no multiple of 3 workers"),
        ("data.general=0", "data.general"),
        ("train.epochs", "expected key=value"),
        ("train.epochs={", "not YAML"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_dotted_name(assignment, words):
    with pytest.raises(InputError, match=words):
        files.override(presets.demo(), [assignment])


def test_an_override_changes_one_setting():
    demo = presets.demo()
    changed = files.override(demo, ["train.controller.step=0.3", "seed=4"])
    assert changed.train.controller.step == 0.3
    assert files.difference(demo, changed) == ["seed", "train.controller.step"]


def test_a_file_with_an_error_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: [")
    with pytest.raises(InputError, match=r"mine.yaml: not YAML"):
        presets.resolve(str(path))
    path.write_text("preset: mine")
    with pytest.raises(InputError, match=r"mine.yaml: data: Field required"):
        presets.resolve(str(path))


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    """YAML would take the second axis of one name, and say nothing of the first."""
    file = tmp_path / "mine.yaml"
    file.write_text("search:\n  interpreting_general: {}\n  interpreting_general: {}\n")
    with pytest.raises(InputError, match=r"interpreting_general is there twice.*line 3"):
        files.read_yaml(file)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(InputError, match="demo"):
        presets.resolve("demoo")


def test_the_demos_grids_span_the_papers_ranges():
    demo = presets.demo()
    for axis in ("interpreting_general", "interpreting_scoring"):
        space = demo.space(axis)
        assert len(space.ratios) >= 7
        assert len(space.seeds) == 3
        assert (min(space.ratios), max(space.ratios)) == (0.1, 10.0)
