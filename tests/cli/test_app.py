"""The command line: one line and exit status 2 for a user's mistake, and config show."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer.main
from command_line import QSIT
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.config import presets


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--foo"], "No such option: --foo"),
        (["fit"], "run"),
        (["show", "nowhere"], "nowhere: no run here"),
        (["run", "--out", "new"], "new: no run here yet; give the --preset"),
        (["run", "--out", "new", "--preset", "demoo"], "--preset demoo: unknown"),
        (["run", "--out", "new", "--preset", "demo", "--set", "a.b=1"], "--set: a: unknown key"),
        (
            ["run", "--out", "new", "--preset", "demo", "--set",
             "search.interpreting_general.ratios=[0]"],
            "search.interpreting_general.ratios.0",
        ),
        (["data", "build", "new", "--preset", "missing.yaml"], "missing.yaml: can't read it"),
        (["data", "build", "s3://b/run", "--preset", "demo"], "run: a run folder is on a local"),
        (["run", "--out", "gs://b/run", "--preset", "demo"], "run: a run folder is on a local"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(words, message, tmp_path):
    done = subprocess.run([QSIT, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("qsit: ")
    assert not list(tmp_path.iterdir())


def verbs(group, *above):
    """The words of every command and group of commands."""
    yield above
    for name, command in getattr(group, "commands", {}).items():
        yield from verbs(command, *above, name)


@pytest.mark.parametrize("verb", list(verbs(typer.main.get_command(app))), ids=" ".join)
def test_every_verb_has_help(verb):
    done = CliRunner().invoke(app, [*verb, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_config_show_prints_settings_that_preset_reads_back(tmp_path):
    shown = ["config", "show", "--preset", "demo", "--set", "train.epochs=5"]
    done = CliRunner().invoke(app, shown)
    assert done.exit_code == 0
    assert "# Passes over the mixture" in done.stdout
    (tmp_path / "mine.yaml").write_text(done.stdout)
    again = CliRunner().invoke(app, ["config", "show", "--preset", str(tmp_path / "mine.yaml")])
    assert again.stdout == done.stdout
    plain = CliRunner().invoke(app, [*shown, "--json"])
    settings = presets.resolve(str(tmp_path / "mine.yaml")).model_dump(mode="json")
    assert json.loads(plain.stdout) == settings
    assert settings["train"]["epochs"] == 5


def test_config_write_makes_a_file_once(tmp_path):
    file = tmp_path / "mine.yaml"
    command = ["config", "write", "--preset", "demo", "--set", "train.epochs=5", "--out", str(file)]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert "# Passes over the mixture" in file.read_text()
    assert presets.resolve(str(file)).train.epochs == 5
    again = CliRunner().invoke(app, command)
    assert again.exit_code != 0
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0


def test_the_version_is_that_of_the_package(tmp_path):
    done = subprocess.run([QSIT, "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{version('qsit_ray')}\n")


def test_a_shell_completes_verbs(tmp_path):
    asked = {"_QSIT_COMPLETE": "complete_bash", "COMP_WORDS": "qsit se", "COMP_CWORD": "1"}
    done = subprocess.run([QSIT], capture_output=True, text=True, env={**os.environ, **asked})
    assert set(done.stdout.split()) == {"search", "serve"}


def test_what_ray_reads_when_it_is_imported_is_set_before_and_help_loads_little(tmp_path):
    program = (
        "import json, os, sys; import qsit_ray.cli.app\n"
        "slow = {'ray', 'torch', 'transformers', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)\n"
        "print(json.dumps([sorted(slow), os.environ.get('TUNE_DISABLE_SIGINT_HANDLER')]))"
    )
    bare = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=bare
    )
    assert json.loads(done.stdout) == [[], "1"], done.stderr
