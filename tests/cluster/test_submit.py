"""qsit submit: what is uploaded, what is refused before that, and what is told of a cluster that
does not take it."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cluster_files import ROOT
from command_line import QSIT
from hypothesis import given, settings
from hypothesis import strategies as st
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from qsit_ray import submission
from qsit_ray.cli import submit as submit_verb
from qsit_ray.cli.app import main
from qsit_ray.errors import InputError

NOWHERE = "http://127.0.0.1:1"


def submit(*words, program=(QSIT, "submit"), cwd=None, **environment):
    """A process of its own, without the caller's Ray settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [*program, *map(str, words)],
        env=inherited | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def refused(monkeypatch, capsys):
    """Calls the command line, and returns the one line with which it refuses its words."""

    def call(*words, cwd=None, **environment):
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if cwd is not None:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["qsit", *map(str, words)])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            signal.signal(signal.SIGTERM, handler)
            os.environ.pop("RAY_API_SERVER_ADDRESS", None)
        shown = capsys.readouterr()
        assert (ended.value.code, shown.out) == (2, "")
        assert shown.err.count("\n") == 1, shown.err
        return shown.err

    return call


def packed(folder, to):
    """What Ray itself uploads of a folder: names and contents."""
    excluded = get_runtime_env_default_excludes()
    create_package(str(folder), to, include_gitignore=True, excludes=excluded)
    with zipfile.ZipFile(to) as archive:
        return {Path(each.filename): each.file_size for each in archive.infolist()}


@pytest.fixture
def tree(tmp_path):
    """A checkout's folder with some code, settings and all that users keep beside these."""
    tree = tmp_path / "tree"
    files = {
        "qsit_ray/data/catalog.py": "code",
        "qsit_ray/__pycache__/catalog.pyc": "compiled",
        "evaluation/iqa.py": "code",
        "search_spaces/mine.yaml": "axis",
        "my_run.yaml": "extends: rehearsal",
        "data/images/a.jpg": "pixels",
        "data/labels.yaml": "labels",
        "runs/demo/config.yaml": "seed: 0",
        "photos/b.png": "pixels",
        ".venv/bin/python": "program",
        "venv/bin/python": "program",
        ".git/HEAD": "ref",
        ".env": "HF_TOKEN=hf_secret",
        "auth_token": "secret",
        "model.safetensors": "weights",
        "docs/page.md": "text",
        "tests/test_a.py": "code",
    }
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name in (".rayignore", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    return tree


SHIPPED = {
    "qsit_ray/data/catalog.py",
    "evaluation/iqa.py",
    "search_spaces/mine.yaml",
    "my_run.yaml",
}


def test_code_and_settings_are_uploaded_and_nothing_else(tree, tmp_path):
    found = packed(tree, tmp_path / "package.zip")
    assert set(map(str, found)) == SHIPPED
    assert submission.uploaded(tree) == found


def test_this_checkout_is_a_small_upload_with_all_of_its_code(tmp_path):
    found = packed(ROOT, tmp_path / "package.zip")
    assert sum(found.values()) < 8 * 2**20
    code = [each for name in ("qsit_ray", "evaluation") for each in ROOT.glob(f"{name}/**/*.py")]
    code += ROOT.glob("search_spaces/*.yaml")
    assert {path.relative_to(ROOT) for path in code} <= set(found)
    assert not [path for path in found if {"tests", "docs", ".git", "data"} & {path.parts[0]}]


@settings(deadline=None)
@given(
    st.lists(
        st.from_regex(r"[a-z.][a-z0-9_.-]{0,8}", fullmatch=True).filter(
            lambda name: set(name) != {"."}
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_name_of_a_folder_takes_its_files_along(tmp_path_factory, names):
    """Only the folders of code go along, and YAML files beside them."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / ".rayignore", tree)
    file = tree.joinpath(*names, "photo.jpg")
    file.parent.mkdir(parents=True)
    file.write_text("pixels")
    code = names[0] in ("qsit_ray", "evaluation", "search_spaces")
    yaml = names[0].endswith((".yaml", ".yml"))
    found = set(submission.uploaded(tree))
    assert found == ({file.relative_to(tree)} if code or yaml else set())


def test_too_large_an_upload_names_its_largest_folder():
    files = {
        Path("qsit_ray/a.py"): 5_000,
        Path("data/images/a/1.jpg"): 60 * 2**20,
        Path("data/images/b/2.jpg"): 55 * 2**20,
        Path("data/labels.csv"): 2**20,
    }
    with pytest.raises(
        InputError,
        match=r"116 MiB to .* folder is data/images, 115 MiB.*ignore",
    ):
        submission.check_size(Path("/tree"), files)
    del files[Path("data/images/b/2.jpg")]
    submission.check_size(Path("/tree"), files)


def test_data_beside_the_code_is_named_where_nothing_excludes_it(tree, refused):
    (tree / ".rayignore").unlink()
    with (tree / "data/images/photos.tar").open("wb") as file:
        file.truncate(200 * 2**20)
    words = ["--working-dir", tree, "--", "run", "--preset", "rehearsal", "--out", "/runs/x"]
    line = refused("submit", "--address", NOWHERE, *words)
    assert "200 MiB to upload" in line
    assert "the largest folder is data/images, 200 MiB" in line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("run --preset demo --out runs/x", "--out runs/x: a relative path"),
        ("run --preset demo --out runs/x", "absolute path on a folder that all nodes share"),
        ("run --preset paper --out /runs/x", "data.images data/images and 10 more: a relative"),
        ("run --preset demo --out /r --set models.primary=./mine", "models.primary ./mine: a rel"),
        ("run --preset missing.yaml --out /runs/x", "missing.yaml: not among what is uploaded"),
        ("run --preset runs/demo/config.yaml --out /runs/x", "config.yaml: not among what is"),
        ("run --preset demoo --out /runs/x", "--preset demoo: unknown"),
        ("run --preset demo", "Missing parameter: out"),
        ("run --preset demo --out s3://b/x", "a run folder is on a local or shared disk"),
        ("train run runs/x", "RUN runs/x: a relative path"),
        ("search run x --foo", "No such option: --foo"),
        ("evaluate run x", "RUN x: a relative path"),
        ("ablate --out x --preset demo", "--out x: a relative path"),
        ("score /photos --model org/name --output scores", "--output scores: a relative path"),
        ("score photos --model org/name --output /scores", "IMAGES... photos: a relative path"),
        ("score s3://b/p --model ./mine --output s3://b/s", "--model ./mine: a relative path"),
        ("run --preset demo --out ~/x", "--out ~/x: a relative path"),
        ("score /photos --model o/n --output s3://AK:hidden@b/s", "s3://…@b/s: no user"),
        ("search run /runs/x --set search.storage=s3://AK:hid/den@b/s", "s3://…@b/s: no user"),
        ("runn --out /runs/x", "No such command 'runn'"),
        ("submit -- run --out /runs/x", "a job can't submit itself"),
    ],
)
def test_what_a_job_would_refuse_is_refused_before_the_upload(tree, refused, words, named):
    given = ["submit", "--address", NOWHERE, "--working-dir", tree, "--"]
    line = refused(*given, *words.split())
    assert named in line
    assert "hid" not in line


def test_a_folder_that_lists_nothing_to_stay_is_not_uploaded_unasked(tmp_path, refused):
    code = tmp_path / "site" / "qsit_ray" / "__init__.py"  # an installed package, not a checkout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submit_verb.qsit_ray, "__file__", str(code))
        words = ["--", "run", "--preset", "demo", "--out", "/runs/x"]
        line = refused("submit", "--address", NOWHERE, *words, cwd=tmp_path)
    assert f"{tmp_path}: no .rayignore tells what stays here" in line


@pytest.mark.parametrize(
    ("given", "environment", "named"),
    [
        ([], {}, "no --address and no RAY_ADDRESS"),
        (["--address", "ray://127.0.0.1:10001"], {}, "not a dashboard's address"),
        ([], {"RAY_ADDRESS": "127.0.0.1:6379"}, "127.0.0.1:6379: not a dashboard's address"),
        (["--address", "http://me:secret@127.0.0.1:1"], {}, "no user or password in an address"),
        ([], {"RAY_ADDRESS": "ray://me:secret@h:1"}, "no user or password in an address"),
        (["--address", NOWHERE], {"RAY_ADDRESS": "http://127.0.0.1:2"}, ":1: nothing answers"),
        (["--address", NOWHERE, "--env", "1=2"], {}, "--env: expected KEY=VALUE"),
        (["--address", NOWHERE, "--env", "NOT_SET_HERE"], {}, "--env NOT_SET_HERE: not set here"),
        (["--address", NOWHERE, "--working-dir", "/nowhere"], {}, "/nowhere: no such folder"),
    ],
)
def test_what_was_forgotten_is_one_line(tmp_path, refused, given, environment, named):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    known = {"RAY_AUTH_TOKEN_PATH": str(token), **environment}
    words = ["--", "run", "--preset", "rehearsal", "--out", "/runs/x"]
    line = refused("submit", *given, *words, **known)
    assert named in line
    assert "secret" not in line


def test_a_missing_token_is_one_line(tmp_path):
    words = ["--address", NOWHERE, "--", "run", "--preset", "rehearsal", "--out", "/runs/x"]
    done = submit(*words, HOME=str(tmp_path), RAY_AUTH_MODE="token")
    assert done.returncode == 2
    assert "needs the cluster's token, in ~/.ray/auth_token or" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_script_is_the_verb_for_runs(tmp_path):
    """With the checkout that it lies in as the upload."""
    for folder in ("cluster", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "cluster/submit.sh", tmp_path / "cluster")
    program = tmp_path / ".venv/bin/qsit"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; exit 3\n')
    program.chmod(0o755)
    done = submit("--set", "a.b=c d", program=[tmp_path / "cluster/submit.sh"])
    expected = ["submit", "--working-dir", str(tmp_path), "--", "run", "--set", "a.b=c d"]
    assert (done.returncode, done.stdout.splitlines()) == (3, expected)


IN_JOB = {"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}


@pytest.mark.parametrize(
    "words",
    [
        "run --preset rehearsal --out runs/x",
        "run --preset my_run.yaml --out runs/x",
        "data build runs/x --preset rehearsal",
        "search run runs/x",
        "train run runs/x",
        "evaluate run runs/x",
        "report runs/x",
        "ablate --preset rehearsal --out runs/x",
        "export /runs/x --out runs/x",
        "fit /table.csv --plot runs/x",
        "score /a.jpg --model /m --output runs/x",
        "score /a.jpg --model /m --out runs/x",
        "compare /a /b --model /m --out runs/x",
        "data distort /a runs/x",
        "data import /table.csv --to runs/x",
        "config write --preset rehearsal --out runs/x",
        "ask runs/x What? --model /m",
    ],
)
def test_no_verb_of_a_job_takes_a_relative_path(tree, refused, words):
    before = sorted(tree.rglob("*"))
    line = refused(*words.split(), cwd=tree, **IN_JOB)
    assert "runs/x: a relative path, and inside a job the working folder is Ray's" in line
    assert sorted(tree.rglob("*")) == before


def test_settings_of_a_job_that_are_relative_paths_are_refused_before_it_begins(tmp_path, refused):
    run = tmp_path / "run"
    words = ["run", "--preset", "paper", "--out", run]
    line = refused(*words, **IN_JOB)
    assert "data.images data/images and 10 more: a relative path" in line
    assert not run.exists()


def test_settings_that_go_along_may_be_named_as_they_are(tree, tmp_path):
    """And the job says that it has no git revision, which otherwise is in made_with."""
    run = tmp_path / "run"
    words = ["data", "build", run, "--preset", "my_run.yaml"]
    done = submit(*words, program=[QSIT], cwd=tree, **IN_JOB, QSIT_REVISION="abc123")
    assert done.returncode == 0, done.stderr
    assert "git: abc123\n" in (run / "config.yaml").read_text()
    assert "git revision" not in done.stdout

    # As on a node: a package that lies in no checkout.
    alone = tmp_path / "node"
    for name in ("qsit_ray", "evaluation", "search_spaces"):
        shutil.copytree(ROOT / name, alone / name, ignore=shutil.ignore_patterns("__pycache__"))
    run = tmp_path / "another"
    program = [sys.executable, "-m", "qsit_ray.cli.app"]
    words = ["data", "build", run, "--preset", "rehearsal"]
    done = submit(*words, program=program, cwd=alone, **IN_JOB, PYTHONPATH=str(alone))
    assert done.returncode == 0, done.stderr
    assert "git: null\n" in (run / "config.yaml").read_text()
    assert done.stdout.count("git revision: unknown here") == 1


@pytest.mark.parametrize(
    "words",
    [
        "run --preset rehearsal --out x",
        "ablate --preset demo --out x",
        "search estimate --preset rehearsal",
    ],
)
def test_a_dashboard_is_no_address_of_a_command(tmp_path, refused, words):
    known = {"RAY_ADDRESS": "http://127.0.0.1:8265"}
    line = refused(*words.split(), cwd=tmp_path, **known)
    assert "RAY_ADDRESS=http://127.0.0.1:8265: a dashboard's address" in line
    assert "`qsit submit`" in line
    assert not list(tmp_path.iterdir())
