"""The wheel works by itself, outside the checkout, and has all that the commands read."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from cluster_files import ROOT
from command_line import SMALL, read, sets

from qsit_ray.mixture import AXES

SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PACKAGES = ("qsit_ray", "evaluation", "search_spaces")
MODULES = ("qsit_ray", "qsit_ray.evaluation", "qsit_ray.search_spaces")
LEAST = {
    **SMALL,
    **{f"search.{axis}.ratios": "[0.1, 0.3, 1.0, 3.0, 10.0]" for axis in AXES},
    **{f"search.{axis}.seeds": "[0]" for axis in AXES},
    "search.proxy_seeds": "[0]",
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves its files beside the sources."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        shutil.copyfile(ROOT / name, copy / name)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), "."]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an environment with the wheel, which finds the packages of this one beside it
    but not this one's checkout: path files are not read in a folder that one of them names."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--disable-pip-version-check", str(wheel)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return folder


@pytest.fixture(scope="module")
def called(installed, tmp_path_factory):
    """Calls a program of the environment elsewhere."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def call(program, *words):
        command = [str(installed / "bin" / program), *map(str, words)]
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {p.relative_to(ROOT) for name in PACKAGES for p in (ROOT / name).rglob("*")}
    kept = [p for p in files if (ROOT / p).is_file() and "__pycache__" not in p.parts]
    assert len(kept) > 200
    within = {str(p if p.parts[0] == "qsit_ray" else "qsit_ray" / p) for p in kept}
    assert not within - names


def test_the_wheel_has_one_name(wheel):
    roots = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert roots == {"qsit_ray", f"qsit_ray-{version('qsit_ray')}.dist-info"}


def test_nothing_is_found_in_the_checkout(called, installed):
    code = (
        f"import sys; from importlib import import_module; print(*sys.path); "
        f"print(*(import_module(name).__file__ for name in {MODULES}), sep='\\n')"
    )
    path, *files = called("python", "-c", code).splitlines()
    assert str(ROOT) not in path.split()
    assert len(files) == len(MODULES)
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_help_version_and_presets(called):
    assert called("qsit", "--version") == f"{version('qsit_ray')}\n"
    assert "Run every stage in order" in called("qsit", "--help")
    for preset in ("demo", "paper", "rehearsal"):
        shown = called("qsit", "config", "show", "--preset", preset)
        assert "interpreting_general:" in shown


def test_a_small_demo_runs(called, tmp_path):
    run = tmp_path / "run"
    settings = sets({**LEAST, "cache": tmp_path / "cache"})
    called("qsit", "run", "--preset", "demo", "--out", run, *settings)
    assert {"data", "train", "evaluate"} <= set(read(run / "stages.json"))
    assert "<html" in (run / "report.html").read_text()
    called("qsit", "export", run, "--out", tmp_path / "model")
    assert "qsit_ray" in (tmp_path / "model" / "README.md").read_text()
