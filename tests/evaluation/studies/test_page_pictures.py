"""The pictures of the service's page."""

import shutil
import subprocess
import sys

import pytest
from PIL import Image

WIDTHS = {"page-light.png": 1000, "page-dark.png": 1000, "page-phone.png": 540}


def call(out, **environment):
    command = [sys.executable, "-m", "evaluation.studies", "page", "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, **environment)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_three_small_pictures_are_written(tmp_path):
    done = call(tmp_path / "new")
    assert done.returncode == 0, done.stderr
    files = {file.name: file for file in (tmp_path / "new").iterdir()}
    assert files.keys() == WIDTHS.keys()
    for name, file in files.items():
        assert str(file) in done.stdout
        assert file.stat().st_size < 150_000
        with Image.open(file) as picture:
            assert picture.width == WIDTHS[name]
            corner = picture.convert("L").getpixel((0, 0))
            assert (corner < 128) == (name == "page-dark.png")


def test_without_a_browser_one_line_says_so(tmp_path):
    failed = call(tmp_path, env={"PATH": str(tmp_path)})
    assert failed.returncode == 2
    assert failed.stderr == "qsit: chromium is not installed; Debian's package is chromium\n"
