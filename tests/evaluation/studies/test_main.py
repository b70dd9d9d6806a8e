"""The one command line of all studies."""

import subprocess
import sys


def call(*arguments):
    command = [sys.executable, "-m", "evaluation.studies", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_study_writes_its_section(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- order: begin --><!-- order: end -->")
    done = call("order", "--out", page, "--searches", 1)
    assert done.returncode == 0 and str(page) in done.stdout
    assert "evaluation.studies order --out docs/SEARCH.md --searches 1" in page.read_text()


def test_a_mistake_is_one_line_with_exit_status_2(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks")
    failed = call("order", "--out", page, "--searches", 1)
    assert failed.returncode == 2
    assert failed.stderr.startswith("qsit: ") and failed.stderr.count("\n") == 1
    assert "the marks" in failed.stderr
