"""requirements.lock: what setup.cfg asks for, at the versions of constraints.txt, with hashes."""

import configparser
import re

import pytest
from cluster_files import PINS, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = re.sub(r" \\\n\s+", " ", (ROOT / "requirements.lock").read_text())
LOCKED = dict(re.findall(r"^([\w.\[\],-]+)==(\S+)", LOCK, re.MULTILINE))
VERSIONS = {canonicalize_name(name.partition("[")[0]): each for name, each in LOCKED.items()}


def asked():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    texts = parser["options"]["install_requires"] + parser["options.extras_require"]["demo"]
    return [Requirement(line) for line in texts.splitlines() if line.strip()]


@pytest.mark.parametrize("requirement", asked(), ids=lambda each: each.name)
def test_every_requirement_is_locked_at_a_version_that_it_allows(requirement):
    assert VERSIONS[canonicalize_name(requirement.name)] in requirement.specifier


def test_versions_are_those_of_the_constraints():
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    both = pins.keys() & VERSIONS.keys()
    assert len(both) > 100
    assert {name: VERSIONS[name] for name in both} == {name: pins[name] for name in both}


def test_every_line_has_hashes_and_none_an_address():
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"\S+==\S+( ; [^-]+)?( --hash=sha256:[0-9a-f]{64})+", line), line
    assert "://" not in LOCK
