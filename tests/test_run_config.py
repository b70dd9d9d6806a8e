"""config.yaml of a run: what may change between its commands, and the list of what has changed."""

import json

import pytest
import yaml
from command_line import call
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.changes import changes
from qsit_ray.config.files import override
from qsit_ray.config.places import absolute
from qsit_ray.config.section import meaning
from qsit_ray.errors import InputError
from qsit_ray.models.base import Base, record
from qsit_ray.run_config import RunConfig, change, opened
from qsit_ray.search.records import outcome_file

GRID = presets.paper().space("interpreting_general").ratios
OPERATIONAL = {
    "train.micro_batch": 1,
    "train.offload_optimizer": True,
    "train.activation_checkpointing": False,
    "train.on_bad_loss": "rollback",
    "train.loss_limit": 20.0,
    "train.checkpoint_minutes": 5.0,
    "train.checkpoints_kept": 3,
    "train.max_failures": 7,
    "train.one_node": False,
    "train.min_workers": 8,
    "train.trackers": "[{wandb: {mode: offline}}]",
    "evaluate.batch_tokens": 800,
    "search.micro_batch": 4,
    "search.max_failures": 5,
}
RESULT = {
    "seed": 1,
    "models.max_length": 4096,
    "search.training.learning_rate": 1e-4,
    "search.interpreting_general.ratios": "[0.1, 1.0, 2.0, 3.0, 10.0]",
    "search.interpreting_general.objective": "both",
}
ADDED = {
    "search.interpreting_general.ratios": [
        *presets.paper().space("interpreting_general").ratios,
        20.0,
    ],
    "search.interpreting_general.seeds": [0, 1, 2, 3],
    "search.proxy_seeds": [0, 1, 2, 3, 4],
    "search.scouts": "{ratios: 4}",
    "search.earlier": "[/runs/before]",
}


@pytest.fixture
def searched(tmp_path):
    """A run of the paper's preset in which trials of the first axis have ended."""
    run = RunFolder(tmp_path / "run")
    RunConfig(presets.paper(), {"git": None}, []).write(run)
    for ratio in (0.1, 0.2):
        outcome = {"ratio": ratio, "seed": 0, "score": 0.5}
        artifacts.write_json(outcome_file(run.search("interpreting_general"), ratio, 0), outcome)
    return run


def set_to(settings):
    return override(presets.paper(), [f"{key}={value}" for key, value in settings.items()])


def test_operational_settings_change_and_the_change_is_noted(searched):
    found = change(searched, set_to(OPERATIONAL))
    assert {each.key for each in found} == set(OPERATIONAL)
    assert {each.kind for each in found} == {"operational"}
    assert opened(searched) == set_to(OPERATIONAL)
    change(searched, set_to({**OPERATIONAL, "train.micro_batch": 4}))
    first, second = RunConfig.read(searched).history
    assert first["changed"]["train.max_failures"] == [2, 7]
    assert second["changed"] == {"train.micro_batch": [1, 4]}
    assert first["time"] <= second["time"]
    assert yaml.safe_load(searched.config.read_text())["made_with"] == {"git": None}


def test_the_file_of_a_run_is_a_preset_and_unknown_keys_of_it_are_refused(searched, tmp_path):
    change(searched, set_to(OPERATIONAL))
    assert RunConfig.read(searched).history
    assert presets.resolve(str(searched.config)) == opened(searched)
    odd = tmp_path / "odd.yaml"
    odd.write_text(searched.config.read_text() + "made_wiht: {}\n")
    with pytest.raises(InputError, match=r"odd.yaml: made_wiht: unknown key"):
        presets.resolve(str(odd))


def test_an_operational_setting_is_no_part_of_what_results_depend_on():
    assert meaning(set_to(OPERATIONAL)) == meaning(presets.paper())


def inputs_of(config):
    return config.loss_inputs(config.search)


def test_ranks_are_a_result_of_the_training_where_each_micro_batch_counts_alike():
    config = set_to({"loss": "micro_batch_mean"})
    four, eight = (config.loss_inputs(config.train, workers) for workers in (4, 8))
    assert four != eight
    more = set_to({"loss": "micro_batch_mean", "train.micro_tokens": 4_000})
    assert more.loss_inputs(more.search) == inputs_of(config)
    rows = presets.paper()
    assert rows.loss_inputs(rows.train, 4) == rows.loss_inputs(rows.train, 8)


@pytest.mark.parametrize("settings", [{"loss": "micro_batch_mean"}, {"levels.ranking_weight": 0.5}])
@pytest.mark.parametrize("key", ["search.micro_batch", "search.micro_tokens"])
def test_bounds_of_micro_batches_are_a_result_where_they_count(searched, key, settings):
    """And of the bounds, only then, do the inputs of the stages depend."""
    RunConfig(set_to(settings), {"git": None}, []).write(searched)
    with pytest.raises(InputError, match=rf"{key} is .*: 2 trials of interpreting_general were"):
        change(searched, set_to({**settings, key: 4_000}))
    bounded, rows = set_to({**settings, key: 4_000}), set_to({key: 4_000})
    assert inputs_of(bounded) != inputs_of(set_to(settings))
    assert inputs_of(rows) == inputs_of(presets.paper())


@pytest.mark.parametrize("key", RESULT)
def test_a_setting_that_results_depend_on_is_refused_with_the_results(searched, key):
    before = searched.config.read_bytes()
    with pytest.raises(InputError, match=rf"{key} is .*: 2 trials of interpreting_general were"):
        change(searched, set_to({key: RESULT[key]}))
    assert searched.config.read_bytes() == before


@pytest.mark.parametrize("key", ADDED)
def test_ratios_and_seeds_can_be_added_to_a_search(searched, key):
    (found,) = change(searched, set_to({key: ADDED[key]}))
    assert (found.key, found.kind) == (key, "extension")


def test_what_nothing_was_computed_with_may_be_corrected(searched):
    corrected = {
        "models.primary": "my/primary",
        "train.training.learning_rate": 2e-5,
        "train.epochs": 5,
        "search.interpreting_scoring.objective": "interpreting",
        "evaluate.confidence": 0.9,
    }
    assert {each.key for each in change(searched, set_to(corrected))} == set(corrected)
    with pytest.raises(InputError, match=r"models.proxy is llava.*2 trials"):
        change(searched, set_to({**corrected, "models.proxy": "my/proxy"}))


@pytest.mark.parametrize(
    ("schedule", "epochs", "kind"),
    [("constant", 5, "extension"), ("constant", 2, "result"), ("cosine", 5, "result")],
)
def test_epochs_are_added_only_where_the_rate_does_not_decay(schedule, epochs, kind):
    one = set_to({"train.schedule": schedule})
    (found,) = changes(one, override(one, [f"train.epochs={epochs}"]))
    assert (found.key, found.kind) == ("train.epochs", kind)


@given(st.sets(st.sampled_from(sorted({**OPERATIONAL, **RESULT, **ADDED}))))
def test_changes_name_exactly_the_settings_that_differ(keys):
    every = {**OPERATIONAL, **ADDED, **RESULT}
    if "train.min_workers" in keys:
        keys |= {"train.one_node"}  # it is refused where ranks come and go together
    found = changes(presets.paper(), set_to({key: every[key] for key in keys}))
    assert {each.key for each in found} == keys
    assert {each.key for each in found if each.parts} <= set(RESULT)


def test_paths_become_absolute_once_and_urls_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"search.storage": "s3://bucket/run", "cache": "mine", "search.earlier": "[runs/a]"}
    moved = absolute(set_to(places))
    assert moved.search.earlier == (str(tmp_path / "runs" / "a"),)
    assert moved.data.images == str(tmp_path / "data" / "images")
    assert moved.data.scoring[0] == str(tmp_path / "data" / "scoring_koniq.json")
    assert moved.data.test_images["koniq"] == str(tmp_path / "data" / "koniq.csv")
    assert (moved.cache, moved.search.storage) == (str(tmp_path / "mine"), "s3://bucket/run")
    monkeypatch.chdir("/")
    assert absolute(moved) == moved


def test_images_that_were_moved_may_be_named_after_a_search(searched):
    (found,) = change(searched, set_to({"data.images": "/elsewhere"}))
    assert (found.key, found.parts) == ("data.images", ())


def test_the_command_line_tells_which_settings_may_change(searched, tmp_path):
    file = tmp_path / "other.yaml"
    config = set_to({"train.micro_batch": 1, "seed": 3})
    RunConfig(config, {}, []).write(RunFolder(tmp_path / "other"))
    values = yaml.safe_load((tmp_path / "other" / "config.yaml").read_text())
    file.write_text(yaml.safe_dump({k: v for k, v in values.items() if k != "made_with"}))
    done = call("config", "diff", searched.path, file, "--json")
    assert done.returncode == 0, done.stderr
    seed, micro = json.loads(done.stdout)["differ"]
    assert (micro["key"], micro["kind"], micro["refused"]) == (
        "train.micro_batch",
        "operational",
        None,
    )
    assert (seed["key"], seed["run"], seed["file"]) == ("seed", 0, 3)
    assert seed["refused"] == "2 trials of interpreting_general were trained"
    shown = call("config", "diff", searched.path, file).stdout
    assert "no: 2 trials" in shown and "yes: no result" in shown


def test_another_kind_of_data_is_another_run(searched):
    """Settings that only one of the two kinds has are compared too."""
    found = changes(opened(searched), presets.demo())
    assert {"data.source", "data.images", "data.test_questions"} <= {each.key for each in found}
    with pytest.raises(InputError, match=r"data.source is llava, not demo: 2 trials"):
        change(searched, presets.demo())


def test_a_base_model_is_the_same_by_the_name_that_was_asked_for(searched):
    """A run keeps the commit that a name on the Hub had; a file of settings has the name."""
    asked = presets.paper().models.proxy
    record(searched, {"proxy": Base(asked, f"{asked}@{40 * 'a'}")})
    pinned = set_to({"models.proxy": f"{asked}@{40 * 'a'}"})
    RunConfig(pinned, {}, []).write(searched)
    done = call("config", "diff", searched.path, "paper", "--json")
    assert json.loads(done.stdout) == {"differ": []}


def test_a_command_refuses_what_results_depend_on(searched):
    """A rehearsal needs no base models, so no command asks the Hub for them."""
    RunConfig(presets.rehearsal(), {}, []).write(searched)
    refused = call("search", "run", searched.path, "--set", "seed=3")
    assert refused.returncode == 2
    assert "seed is 0, not 3: 2 trials" in refused.stderr


def test_another_number_of_scouts_adds_to_a_search():
    before = override(presets.demo(), ["search.scouts={ratios: 4}"])
    (found,) = changes(before, override(before, ["search.scouts.ratios=6"]))
    assert (found.key, found.kind, found.parts) == ("search.scouts.ratios", "extension", ())
