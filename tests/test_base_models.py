"""Base models are found, checked and recorded when a run is made, before anything is computed."""

import json
import re
import shutil

import pytest
import torch
from command_line import SMALL, call, sets
from huggingface_hub import HfApi, constants
from safetensors.torch import load_file, save_file

from qsit_ray import artifacts, pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.config.places import absolute
from qsit_ray.data import writing
from qsit_ray.errors import InputError
from qsit_ray.models import base, load
from qsit_ray.models.base import identity
from qsit_ray.run_config import opened
from qsit_ray.stages import base_models
from qsit_ray.stages.search import proxy_inputs
from qsit_ray.terminal import Terminal

COMMIT, NEWER = "a" * 40, "b" * 40


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    load.save(checkpoint.model, checkpoint.processor, folder)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "check_machine", lambda config, folder: None)
    return RunFolder(tmp_path / "run")


def config(**names):
    return override(presets.demo(), [f"models.{role}={name}" for role, name in names.items()])


def weights(change):
    def spoil(folder):
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, {"format": "pt"})

    return spoil


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def gone(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def larger_vocabulary(folder):
    tokenizer = load.load_processor(folder).tokenizer
    tokenizer.add_tokens([f"<{number}>" for number in range(1000)])
    tokenizer.save_pretrained(folder)


SPOILT = {
    "of lmms-lab": (written("config.json", '{"model_type": "llava_qwen"}'), "its model type is"),
    "no tower": (
        weights(lambda w: {n: t for n, t in w.items() if "vision_tower" not in n}),
        "weights missing: 53",
    ),
    "not finite": (
        weights(lambda w: w | {n: t * torch.nan for n, t in w.items() if "projector" in n}),
        "weights not finite: 4",
    ),
    "no tokenizer": (gone("tokenizer.json", "tokenizer_config.json"), "its tokenizer can't be"),
    "a cut tokenizer": (written("tokenizer.json", '{"version": "1.0"'), "its tokenizer can't be"),
    "no images": (gone("preprocessor_config.json"), "its image processor can't be"),
    "a list for images": (written("preprocessor_config.json", "[]"), "its image processor can't"),
    "another's tokenizer": (larger_vocabulary, "another model's tokenizer"),
    "gone": (shutil.rmtree, "no such folder"),
}


@pytest.mark.parametrize("role", ["proxy", "primary"])
@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_run_is_not_made_of_a_base_model_that_can_not_be_loaded(
    run, whole, tmp_path, role, spoilt
):
    folder = shutil.copytree(whole, tmp_path / "base")
    spoil, message = SPOILT[spoilt]
    spoil(folder)
    with pytest.raises(InputError, match=rf"^models\.{role}: {folder}.*{message}") as error:
        pipeline.create(run, config(**{role: folder}))
    assert "\n" not in str(error.value)
    assert not run.config.exists()


OWN = ["prompts.stem=Its beauty is", "prompts.levels=[awful, dull, plain, lovely, great]"]
APART = ["prompts.levels=[poor, bad, not good, good, excellent]"]
CONFUSED = r"profile own: level words 'awful' and 'dull' begin with the same token"


def test_own_words_that_a_tokenizer_confuses_are_refused(run, whole):
    with pytest.raises(InputError, match=rf"^models\.proxy: {CONFUSED}"):
        pipeline.create(run, override(config(proxy=whole, primary=whole), OWN))
    assert not run.config.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (OWN, CONFUSED),
        ([*APART, "levels.target=soft"], "'The quality of the image is not good.' has the tokens"),
    ],
)
def test_words_that_change_before_anything_is_trained_are_checked_too(run, whole, words, said):
    """The models are known by then, and have been checked with other words."""
    models = config(proxy=whole, primary=whole)
    pipeline.create(run, models)
    changed, _ = pipeline.create(run, override(models, words))
    with pytest.raises(InputError, match=rf"^models\.proxy: {whole}: .*{said}"):
        base_models.prepare(run, changed, Terminal())
    apart, _ = pipeline.create(run, override(models, APART))
    base_models.prepare(run, apart, Terminal())  # each first token is another


def test_the_command_ends_with_that_one_line(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "base")
    spoil, _ = SPOILT["no tower"]
    spoil(folder)
    settings = {**SMALL, "models.primary": folder, "cache": tmp_path / "cache"}
    done = call("run", "--out", tmp_path / "run", "--preset", "demo", *sets(settings))
    assert done.returncode == 2
    assert re.fullmatch(
        rf"qsit: models\.primary: {folder}: .*missing: 53, such as .*\n", done.stderr
    )


def test_a_relative_path_becomes_absolute(run, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "here" / "base")
    monkeypatch.chdir(tmp_path)
    for name in ("here/base", "./here/base", "here/../here/base"):
        folder = RunFolder(tmp_path / name.replace("/", "-"))
        made, _ = pipeline.create(folder, config(primary=name))
        assert made.models.primary == str(tmp_path / name.removeprefix("./"))
    monkeypatch.chdir("/")
    again = RunFolder(tmp_path / "here-base")
    assert pipeline.create(again, opened(again)) == (opened(again), [])


@pytest.fixture
def main(whole, tmp_path, monkeypatch):
    """Sets the commit that a model on the Hub, which is in the cache, has as its `main`."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for commit in (COMMIT, NEWER):
        shutil.copytree(whole, tmp_path / "hub" / "models--maker--model" / "snapshots" / commit)

    def move(commit):
        answer = type("Answer", (), {"sha": commit})
        monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: answer)

    return move


def test_a_name_on_the_hub_is_one_commit_for_the_whole_run(run, main):
    main(COMMIT)
    made, _ = pipeline.create(run, config(primary="maker/model"))
    assert made.models.primary == f"maker/model@{COMMIT}"
    assert opened(run) == made
    recorded = artifacts.read_json(run.base_models)
    assert recorded == {"primary": {"asked": "maker/model", "name": f"maker/model@{COMMIT}"}}
    assert load.load(made.models.primary).model.config.model_type == "llava_onevision"
    assert identity(run, made.models.primary) == {"name": "maker/model", "revision": COMMIT}
    main(NEWER)
    assert pipeline.create(run, config(primary="maker/model")) == (made, [])
    assert pipeline.create(run, opened(run)) == (made, [])
    moved, _ = pipeline.create(run, config(primary="maker/model@main"))
    assert moved.models.primary == f"maker/model@{NEWER}"


def test_a_checked_base_model_is_not_checked_again(run, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "base")
    made, _ = pipeline.create(run, config(primary=folder))
    shutil.rmtree(folder)
    assert pipeline.create(run, made) == (made, [])


def test_a_corrected_primary_is_checked_before_the_run_takes_it(run, whole, tmp_path):
    first, second = (shutil.copytree(whole, tmp_path / name) for name in ("first", "second"))
    made, _ = pipeline.create(run, config(primary=first))
    before = run.config.read_text(), run.base_models.read_text()
    with pytest.raises(InputError, match=r"^models\.primary: .*no such folder"):
        pipeline.create(run, config(primary=tmp_path / "third"))
    assert (run.config.read_text(), run.base_models.read_text()) == before
    corrected, changed = pipeline.create(run, config(primary=second))
    assert [each.key for each in changed] == ["models.primary"]
    assert opened(run) == corrected != made
    assert artifacts.read_json(run.base_models)["primary"]["name"] == str(second)


def test_the_search_does_not_depend_on_the_primary(run, whole, tmp_path):
    second = shutil.copytree(whole, tmp_path / "second")
    writing.write_counts(run.catalog, {"scoring": 1, "interpreting": 1, "general": 1})
    inputs = [
        proxy_inputs(run, pipeline.create(run, config(proxy=whole, primary=primary))[0])
        for primary in (whole, second)
    ]
    assert inputs[0] == inputs[1]


def test_only_base_models_that_the_run_needs_are_checked(run, whole, tmp_path):
    given = override(
        config(proxy=tmp_path / "nothing", primary=whole),
        ["mix={scoring: 1, interpreting: 1, general: 1}", "train.controller=null"],
    )
    pipeline.create(run, given)
    assert list(artifacts.read_json(run.base_models)) == ["primary"]
    rehearsed = presets.rehearsal()
    made = pipeline.create(RunFolder(tmp_path / "rehearsed"), rehearsed)
    assert made == (absolute(rehearsed), [])


@pytest.mark.parametrize("role", ["proxy", "primary"])
def test_the_demo_has_two_models(role):
    with pytest.raises(
        InputError, match=rf"models\.{role}: the demo's models are demo/primary and"
    ):
        config(**{role: "demo/foo"})


def test_a_tracker_that_is_not_installed_is_refused_before_anything_else(run, monkeypatch):
    monkeypatch.setattr("qsit_ray.train.trackers.find_spec", lambda name: None)
    tracked = override(presets.demo(), ["train.trackers=[{wandb: {}}]"])
    with pytest.raises(InputError, match=r"^train\.trackers: wandb is not installed"):
        pipeline.create(run, tracked)
    assert not run.config.exists()


def test_a_file_is_hashed_once_as_long_as_it_stays_the_same(run, whole, tmp_path, monkeypatch):
    folder = shutil.copytree(whole, tmp_path / "base")
    hashed, said = [], []
    real = artifacts.file_sha256
    monkeypatch.setattr(base, "_LARGE", 1)
    monkeypatch.setattr(artifacts, "file_sha256", lambda p: hashed.append(p.name) or real(p))
    first = identity(run, str(folder), said.append)
    assert first == {path.name: real(path) for path in sorted(folder.glob("*[ns]"))}
    assert sorted(hashed) == sorted(first)
    assert len(said) == 1 and str(folder) in said[0]
    assert identity(run, str(folder), said.append) == first
    assert len(hashed) == len(first)
    (folder / "config.json").write_text(json.dumps({"model_type": "other"}))
    assert identity(run, str(folder), said.append)["config.json"] != first["config.json"]
    assert hashed[len(first) :] == ["config.json"]
