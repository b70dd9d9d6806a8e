"""The command line's manners: one line and exit status 2 for what the user got wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

QSIT = str(Path(sys.executable).parent / "qsit")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--foo"], "No such option: --foo"),
        (["fit"], "run"),
        (["show", "nowhere"], "nowhere: no run here"),
        (["run", "--out", "new"], "new: no run here yet; say which --preset"),
        (["run", "--out", "new", "--preset", "demoo"], "--preset demoo: unknown"),
        (["run", "--out", "new", "--preset", "demo", "--set", "a.b=1"], "--set: a: unknown key"),
        (
            ["run", "--out", "new", "--preset", "demo", "--set",
             "search.interpreting_general.ratios=[0]"],
            "search.interpreting_general.ratios.0",
        ),
        (["data", "build", "new", "--preset", "missing.yaml"], "missing.yaml: can't read it"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(words, told, tmp_path):
    done = subprocess.run([QSIT, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("qsit: ")
    assert not list(tmp_path.iterdir())


def test_every_verb_has_help():
    for verb in ("run", "show", "data build", "data levels", "search run", "fit", "train run",
                 "evaluate run", "evaluate iqa", "evaluate llvisionqa", "evaluate compare",
                 "evaluate lldescribe", "report"):  # fmt: skip
        done = subprocess.run([QSIT, *verb.split(), "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        assert "Usage" in done.stdout
