"""A model that was trained with other prompts is asked with them, wherever it goes."""

import ast
import copy
import json
import re
import shutil
import socket
from contextlib import closing
from dataclasses import fields

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image
from typer.testing import CliRunner
from vllm_server import MODEL, Server

from qsit_ray.cli.app import app
from qsit_ray.config.presets import demo
from qsit_ray.config.prompts import COLUMNS, Prompts
from qsit_ray.data.encode import asked
from qsit_ray.errors import InputError
from qsit_ray.levels import expected_score
from qsit_ray.models import export, load, profiles
from qsit_ray.models.score import level_logits
from qsit_ray.prompts import CHAT_TEMPLATE, PAPER
from qsit_ray.rating.job import Scorer, plan_of
from qsit_ray.rating.rater import Rater
from qsit_ray.rating.remote import RemoteRater
from qsit_ray.rating.results import Reject, Score
from qsit_ray.rating.shards import Folder
from qsit_ray.run_files import FoundMix

OWN = Prompts(
    question="<image>\nHow beautiful is it?",
    stem="Its beauty is",
    levels=("bleak", "fair", "good", "great", "excellent"),
    choice="<image>\n{options}\n{question}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (64, 90, 3), np.uint8)).save(made / name)
    return made


@pytest.fixture
def model(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path / "model")
    profiles.write(tmp_path / "model", OWN)
    return tmp_path / "model"


def test_a_folder_is_scored_with_its_own_prompts(checkpoint, model, folder):
    rater = Rater.load(model)
    found = rater.score(folder / "a.png")
    assert [*found.probabilities] == [*OWN.levels]
    logits = level_logits(checkpoint, ["a.png"], folder, profile=OWN.profile)
    assert found.score == pytest.approx(expected_score(logits)[0], abs=1e-5)
    assert rater.conditions["profile"] == "own"
    papers = Rater.load(model, "paper").score(folder / "a.png")
    assert [*papers.probabilities] == ["bad", "poor", "fair", "good", "excellent"]
    assert papers.score != pytest.approx(found.score, abs=1e-4)


def test_closed_questions_are_asked_in_its_form(model, folder):
    """By an image at hand and by a catalog's question alike."""
    asked = {
        "type": 0, "concern": 0, "question": "Sharp?", "img_path": "a.png",
        "candidates": ["yes", "no", "in part"], "correct_ans": "no",
    }  # fmt: skip
    mine = Rater.load(model)
    (listed,) = mine.answers([asked], folder)
    shown = mine.choose(folder / "a.png", "Sharp?", asked["candidates"])
    assert shown.probabilities == pytest.approx(listed.probabilities, abs=1e-5)
    papers = Rater.load(model, "paper").choose(folder / "a.png", "Sharp?", asked["candidates"])
    assert papers.probabilities != pytest.approx(shown.probabilities, abs=1e-4)


def test_a_server_is_asked_with_the_file(checkpoint, model, folder):
    server = Server(checkpoint)
    try:
        there = RemoteRater.load(server.url, MODEL, str(model / profiles.FILE))
        here = Rater.load(model)
        for name in ("a.png", "b.png"):
            expected, found = here.score(folder / name), there.score(folder / name)
            assert found.score == pytest.approx(expected.score, abs=1e-6)
        chosen = [each.choose(folder / "a.png", "Sharp?", ["yes", "no"]) for each in (here, there)]
        assert chosen[0].probabilities == pytest.approx(chosen[1].probabilities, abs=1e-5)
    finally:
        server.close()


def test_no_level_word_is_another_column_of_a_table():
    columns = {each.name for kind in (Score, Reject) for each in fields(kind)}
    assert columns - {"probabilities"} == COLUMNS


def test_a_file_that_is_not_there_is_told():
    with pytest.raises((InputError, OSError), match=r"gone\.json"):
        RemoteRater.load("http://127.0.0.1:1/v1", MODEL, "gone.json")


def test_a_folder_without_a_profile_has_the_papers(checkpoint, tmp_path):
    profiles.write(tmp_path, Prompts())
    assert not (tmp_path / profiles.FILE).exists()
    assert profiles.of(str(tmp_path)) is Prompts().profile


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"levels": ["a", "b"]}', "levels"),
        ('{"stem": 3}', "stem"),
        ('{"words": []}', "words"),
        ("[]", "profile.json"),
        ("{", "profile.json"),
    ],
)
def test_a_broken_profile_is_told_by_its_file(tmp_path, content, said):
    (tmp_path / profiles.FILE).write_text(content)
    with pytest.raises(InputError, match=said) as found:
        profiles.of(str(tmp_path))
    assert str(tmp_path / profiles.FILE) in str(found.value)


def test_json_of_a_profile_is_what_the_configuration_has(tmp_path):
    profiles.write(tmp_path, OWN)
    assert json.loads((tmp_path / profiles.FILE).read_text()) == OWN.model_dump(mode="json")
    assert profiles.of(str(tmp_path)) == OWN.profile


def test_a_job_asks_a_model_as_its_folder_says(model, folder, tmp_path):
    names = [str(folder / name) for name in ("a.png", "b.png")]
    plan = plan_of(names, str(model), profiles.of(str(model)).name, "fp32", 2)
    out = Folder(tmp_path / "out")
    out.begin(names, plan)
    Scorer(out, plan, gpu=False, batch_tokens=None, threads=1)({"shard": 0})
    assert out.missing(plan) == []
    found = pq.read_table(tmp_path / "out" / "shards" / "00000.parquet").to_pylist()
    rater = Rater.load(model)
    for row in found:
        assert {*OWN.levels} <= set(row) and "bad" not in row
        assert row["score"] == pytest.approx(rater.score(row["image"]).score, abs=1e-5)


@pytest.mark.parametrize("profile", ["oficial", "own"])
@pytest.mark.parametrize("verb", ["score", "serve"])
def test_an_unknown_profile_is_refused_before_anything_begins(
    model, folder, tmp_path, verb, profile
):
    words = [verb, "--model", str(model), "--profile", profile]
    if verb == "score":
        words += [str(folder / "a.png"), "--output", str(tmp_path / "out")]
    else:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            words += ["--port", str(free.getsockname()[1])]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, InputError)
    assert f"profile '{profile}' is not known; expected one of: paper, official" in str(
        done.exception
    )
    assert not list(tmp_path.glob("out/*.json"))


def test_a_snapshot_that_lacks_the_file_has_it_asked_for_once(model, monkeypatch, tmp_path):
    """Another program has fetched the weights, and no more than it needed."""
    commit, repo = "a" * 40, "some/model"
    cache = tmp_path / "hub" / "models--some--model"
    shutil.copytree(model, cache / "snapshots" / commit)
    (cache / "snapshots" / commit / profiles.FILE).unlink()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def download(repo_id, filename, revision):
        asked.append((repo_id, filename, revision))
        shutil.copy(model / filename, cache / "snapshots" / commit / filename)
        return str(cache / "snapshots" / commit / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert [profiles.of(repo) for _ in range(2)] == [OWN.profile] * 2
    assert asked == [(repo, profiles.FILE, commit)]
    (cache / "snapshots" / commit / profiles.FILE).unlink()
    (cache / ".no_exist" / commit).mkdir(parents=True)
    (cache / ".no_exist" / commit / profiles.FILE).touch()  # the Hub said that there is none
    assert profiles.of(repo) is PAPER
    assert len(asked) == 1


@pytest.mark.parametrize(
    "question", ["How?\n<image>", "How?\n\n<image>", "<image>\nHow “quoted” 😀?"]
)
def test_the_cards_program_asks_as_the_training_did(checkpoint, question):
    config = demo().model_copy(update={"prompts": OWN.model_copy(update={"question": question})})
    mixture = FoundMix({"scoring": 1.0, "interpreting": 1.0, "general": 1.0}, 0.5, "answer", None)
    text = export.card(config, mixture, [], [])
    found = re.search(r"^question = (.*)\nstem = (.*)\nparts = (.*)$", text, re.MULTILINE)
    shown, stem, parts = found.groups()
    assert ast.literal_eval(stem) == OWN.stem
    turn = ast.literal_eval(parts.replace('"text": question', f'"text": {shown}'))
    tokenizer = copy.deepcopy(checkpoint.processor.tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    messages = [{"role": "user", "content": turn}]
    written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert written == asked(question)
