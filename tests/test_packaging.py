"""What others read of the project agrees with the package: version, licence, citation, checks."""

import re

import yaml
from cluster_files import ROOT, load

from qsit_ray import __version__


def test_every_place_names_the_version():
    assert load("CITATION.cff")["version"] == __version__
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == __version__


def test_the_paper_is_cited():
    (paper,) = load("CITATION.cff")["references"]
    assert paper["url"] == "https://arxiv.org/abs/2503.09197"


def test_checks_at_a_commit_are_those_of_make_check_and_need_no_network():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    for hook in repo["hooks"]:
        assert f"\t{hook['entry']}" in makefile
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    assert load("CITATION.cff")["license"] == "Apache-2.0"
