"""An address with a password is refused wherever it may be given, and never repeated."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from qsit_ray import addresses, artifacts
from qsit_ray.cli.app import app
from qsit_ray.config import files, presets
from qsit_ray.errors import InputError
from qsit_ray.rating import inputs, pictures

SECRET = "planted0Secret"
ADDRESS = f"s3://AKIAplanted:{SECRET}@bucket/folder"
PART = st.text("abcXYZ019-_.~!$&'()*+,;=:%", min_size=1, max_size=12)


@given(PART, PART, st.sampled_from(["s3", "gs", "http", "https", "abfs"]))
@settings(deadline=None)
def test_users_and_passwords_are_seen_and_masked(user, password, scheme):
    text = f"at {scheme}://{user}:{password}@bucket/a@b and {scheme}://{user}@host"
    assert addresses.has_user(text)
    assert addresses.masked(text) == f"at {scheme}://…@bucket/a@b and {scheme}://…@host"
    assert not addresses.has_user(addresses.masked(text).replace("…@", ""))


def test_a_secret_with_slashes_is_seen():
    """As those of AWS have; a number after the colon is a port."""
    text = "s3://AKIAplanted:wJalr/K7MD/x@bucket/a"
    assert addresses.masked(text) == "s3://…@bucket/a"
    assert not addresses.has_user("http://host:8265/a@b")


@pytest.mark.parametrize("text", ["a@b", "s3://bucket/a@b", "http://host/?to=a@b", "photos/a.png"])
def test_other_names_with_an_at_sign_are_left_alone(text):
    assert addresses.masked(text) == text
    addresses.check(text)


@pytest.mark.parametrize(
    "assignment",
    [
        f"search.storage={ADDRESS}",
        f"search.earlier=[{ADDRESS}]",
        f"cache={ADDRESS}",
        f"models.proxy={ADDRESS}",
        f"data.images={ADDRESS}",
        f"data.scoring=[data/a.json, {ADDRESS}]",
        f"data.folders={{'{ADDRESS}': x}}",
        f"data.test_images.koniq={ADDRESS}",
        f"train.trackers=[{{mlflow: {{tracking_uri: 'http://me:{SECRET}@host'}}}}]",
        # Mistakes of other kinds repeat what was given.
        f"search.max_steps={ADDRESS}",
        f"train.trackers={ADDRESS}",
        f"search.storage={{{ADDRESS}",
    ],
)
def test_no_setting_takes_one_and_no_message_repeats_it(assignment):
    with pytest.raises(InputError) as refused:
        files.override(presets.paper(), [assignment])
    assert assignment.partition("=")[0].split(".")[0] in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_configuration_file_with_one_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: demo\nsearch: {{storage: '{ADDRESS}'}}\n")
    done = CliRunner().invoke(app, ["config", "show", "--preset", str(file)])
    assert isinstance(done.exception, InputError)
    assert "search.storage: no user or password" in str(done.exception)
    assert SECRET not in str(done.exception) + done.output


@pytest.mark.parametrize(
    "words",
    [
        ["score", ADDRESS, "--model", "m"],
        ["score", f"{ADDRESS}/*.png", "--model", "m"],
        ["score", "LIST", "--model", "m"],
        ["score", "LIST", "--model", "m", "--output", "OUT"],
        ["data", "distort", ADDRESS, "OUT"],
        ["data", "distort", "IN", ADDRESS],
    ],
)
def test_no_command_takes_one_and_no_message_repeats_it(words, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "list.csv").write_text(f"image\na.png\n{ADDRESS}/b.png\n")
    places = {"IN": tmp_path / "in", "OUT": tmp_path / "out", "LIST": tmp_path / "list.csv"}
    done = CliRunner().invoke(app, [str(places.get(word, word)) for word in words])
    assert isinstance(done.exception, InputError), done.exception
    assert "no user or password" in str(done.exception)
    assert SECRET not in str(done.exception) + done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("taken", [artifacts.path_of, lambda text: pictures.shown(text, "a")])
def test_no_function_takes_one(taken):
    with pytest.raises(InputError, match="no user or password") as refused:
        taken(ADDRESS)
    assert SECRET not in str(refused.value)


def test_lines_of_standard_input_are_checked():
    with pytest.raises(InputError, match=r"s3://…@bucket/folder: no user or password"):
        inputs.listed(["-"], None, [f"{ADDRESS}\n"])
