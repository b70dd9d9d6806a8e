"""No file of the cluster holds a secret, and its image is the pinned one and not root's."""

import re

import pytest
from cluster_files import PINS, ROOT

FILES = [ROOT / "cluster.yaml", *sorted(p for p in (ROOT / "cluster").rglob("*") if p.is_file())]
SECRETS = {
    "AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}\b",
    "account id": r"(?<![\w.-])\d{12}(?![\w.-])",
    "secret's value": r"(?i)(?<![\w/])\w*(access_key|password|token)['\"]?\s*[:=]\s*\S",
}


def secret_problems(text):
    return [f"{what} in the text" for what, pattern in SECRETS.items() if re.search(pattern, text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path):
    assert secret_problems(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "KeyName: AKIA" + "Q7" * 8,
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "token: hf_" + "a1" * 12,
        "arn:aws:iam::" + "1234" * 3 + ":role/x",
        "RAY_AUTH_TOKEN" + ": abc",
    ],
)
def test_a_secret_is_seen(text):
    assert secret_problems(text)


def test_the_image_has_the_pinned_ray_and_is_not_roots():
    lines = (ROOT / "cluster/Dockerfile").read_text().splitlines()
    assert f"ARG RAY_VERSION={PINS['ray']}" in lines
    assert "FROM rayproject/ray:${RAY_VERSION}-py311${VARIANT}" in lines
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER ray"
    copied = {part for line in lines if line.startswith("COPY") for part in line.split()[2:-1]}
    assert [name for name in copied if not (ROOT / name).exists()] == []
