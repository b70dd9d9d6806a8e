"""An exported model is pushed to the Hub: its own files, where and as it was asked."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import QSIT
from hub_server import Hub, Repository
from huggingface_hub import constants
from qsit_pools import ratios
from typer.testing import CliRunner

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.app import app
from qsit_ray.config.files import dump
from qsit_ray.config.presets import demo
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.models import load, push
from qsit_ray.run_files import FoundMix

TOKEN = "hf_written"
USERS = {
    TOKEN: {
        "name": "me",
        "orgs": [{"name": "lab", "roleInOrg": "write"}, {"name": "club", "roleInOrg": "read"}],
        "auth": {"accessToken": {"role": "write"}},
    },
    "hf_read": {"name": "me", "orgs": [], "auth": {"accessToken": {"role": "read"}}},
    "hf_fine": {"name": "me", "orgs": [], "auth": {"accessToken": {"role": "fineGrained"}}},
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server in the Hub's place, and a user who is logged in to it."""
    made = Hub(USERS)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield made
    made.close()


@pytest.fixture
def run(checkpoint, tmp_path):
    folder = RunFolder(tmp_path / "run")
    load.save(checkpoint.model, checkpoint.processor, folder.model)
    artifacts.write_text(folder.config, dump(demo()))
    mixture = FoundMix(ratios(1.0, 2.5, 1.04), 0.2, "answer", Mixture.of(40, 100, 42))
    artifacts.write_json(folder.mixture, mixture.to_json())
    artifacts.write_jsonl(folder.epochs, [])
    return folder


def export(run, out, *words):
    return CliRunner().invoke(app, ["export", str(run.path), "--out", str(out), *words])


def refused(run, out, *words):
    """The line of a mistake that is told before anything is written."""
    error = export(run, out, *words).exception
    assert isinstance(error, InputError)
    assert "\n" not in str(error) and not out.exists()
    return str(error)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("words", "private"), [([], True), (["--public"], False)])
def test_what_was_exported_is_pushed(run, hub, tmp_path, words, private):
    done = export(run, tmp_path / "out", "--push", "lab/judge", *words)
    assert done.exit_code == 0, (done.exception, hub.calls)
    repository = hub.repositories["lab/judge"]
    assert repository.private is private
    assert repository.files == contents(tmp_path / "out")
    assert "reference_scores.json" in repository.files
    kind = "private" if private else "public"
    assert done.stdout.splitlines()[-1] == f"pushed to {hub.url}/lab/judge ({kind})"


def test_the_cards_programs_name_the_repository(run, hub, tmp_path):
    assert export(run, tmp_path / "out", "--push", "me/judge").exit_code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert 'Rater.load("me/judge")' in text and 'folder = "me/judge"' in text
    assert '"."' not in text


def test_files_that_export_did_not_write_are_not_pushed(hub, tmp_path):
    for name in ("config.json", "a[1].json", "a1.json", "notes.txt", "deep/config.json"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_text(name)
    push.push(tmp_path / "f", ["config.json", "a[1].json"], push.check("me/judge", public=False))
    assert set(hub.repositories["me/judge"].files) == {"config.json", "a[1].json"}


def test_weights_of_an_earlier_push_are_replaced_and_other_files_stay(run, hub, tmp_path):
    old = {"model-00001-of-00002.safetensors": b"old", "model.safetensors.index.json": b"{}",
           "photo.png": b"kept", "lora/model.safetensors": b"kept"}  # fmt: skip
    hub.repositories["me/judge"] = Repository(True, dict(old), {TOKEN})
    assert export(run, tmp_path / "out", "--push", "me/judge").exit_code == 0
    kept = {name: old[name] for name in ("photo.png", "lora/model.safetensors")}
    assert hub.repositories["me/judge"].files == contents(tmp_path / "out") | kept
    assert "POST /api/repos/create" not in hub.calls


@pytest.mark.parametrize(
    "name", ["judge", "a/b/c", "me/judge@main", "me/ju dge", "me/a--b", "/judge", "me/", "me/x.git"]
)
def test_a_name_that_the_hub_has_not_is_refused_without_a_question(run, hub, tmp_path, name):
    assert refused(run, tmp_path / "out", "--push", name).startswith(f"--push {name}: ")
    assert hub.calls == []


def test_who_is_not_logged_in_is_told(run, hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    line = refused(run, tmp_path / "out", "--push", "me/judge")
    assert line == "--push me/judge: not logged in; set HF_TOKEN, or call `hf auth login`"
    assert hub.calls == []
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    line = refused(run, tmp_path / "out", "--push", "me/judge")
    assert "does not know this token" in line and "hf_unknown" not in line


def test_a_login_is_as_good_as_a_variable(run, hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert export(run, tmp_path / "out", "--push", "me/judge").exit_code == 0
    assert hub.tokens == {TOKEN}


def test_offline_is_told(run, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(run, tmp_path / "out", "--push", "me/judge")
    assert hub.calls == []


def test_a_hub_that_does_not_answer_is_told(run, hub, tmp_path):
    hub.close()
    assert "the Hub does not answer" in refused(run, tmp_path / "out", "--push", "me/judge")


@pytest.mark.parametrize(
    ("token", "name", "words"),
    [
        (TOKEN, "other/judge", "me may not create models there"),
        (TOKEN, "club/judge", "me may not create models there"),
        ("hf_read", "me/judge", "this token may only read"),
        (TOKEN, "lab/theirs", "me may not write to it"),
    ],
)
def test_a_place_that_is_not_ones_own_is_told_before(
    run, hub, tmp_path, monkeypatch, token, name, words
):
    hub.repositories["lab/theirs"] = Repository(True)
    monkeypatch.setenv("HF_TOKEN", token)
    assert words in refused(run, tmp_path / "out", "--push", name)
    assert not any(call.startswith("POST") for call in hub.calls)


def test_nothing_becomes_public_or_private_unasked(run, hub, tmp_path):
    hub.repositories["me/open"] = Repository(False, writers={TOKEN})
    hub.repositories["me/closed"] = Repository(True, writers={TOKEN})
    assert "is public" in refused(run, tmp_path / "out", "--push", "me/open")
    assert "is private" in refused(run, tmp_path / "out", "--push", "me/closed", "--public")
    assert "--public belongs to --push" in refused(run, tmp_path / "out", "--public")


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [("lab/judge", (), "create this"), ("me/judge", ("/commit/main",), "do this")],
)
def test_an_upload_that_fails_leaves_the_folder_and_says_how_to_go_on(
    run, hub, tmp_path, monkeypatch, name, step, words
):
    """What a fine-grained token may do is only known when it is done."""
    hub.refused, out = step, tmp_path / "out"
    monkeypatch.setenv("HF_TOKEN", "hf_fine")
    error = export(run, out, "--push", name).exception
    assert isinstance(error, InputError) and "\n" not in str(error)
    assert re.match(rf"{name}: not pushed: .*You may not {words}", str(error))
    assert str(error).endswith(f"{out} is whole; `hf upload {name} {out} --private`")
    assert (out / "README.md").exists()


def test_a_mistake_of_the_command_line_is_one_line_and_status_2(run, tmp_path):
    """In a process of its own, with the variables that a user sets."""
    variables = {
        "HF_TOKEN": TOKEN,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, QSIT, "export", run.path, "--out", tmp_path / "o", "--push", "me/judge"],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("qsit: --push me/judge: the Hub does not answer: ")
    assert len(done.stderr.splitlines()) == 1 and TOKEN not in done.stderr
