"""Data, audit, recipe and kept outputs of other commands in the report."""

import pytest
from planted_run import CONFIG, catalog, fill, read

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.errors import InputError
from qsit_ray.report.contents import contents
from qsit_ray.report.page import build
from qsit_ray.report.recipe import recipe

EFFICIENCY = {
    "parameters": {"total": 894_000_000}, "device": "<GPU>", "answer_tokens": 32,
    "flops": {"scoring": {"counted": 9_860_000_000_000}, "answering": {"counted": 2e13}},
    "latency_seconds": {
        "preprocessing": {"median": 0.06}, "scoring": {"median": 0.1234},
        "answering": {"median": 0.5},
    },
    "peak_memory_bytes": {"scoring": 2**30, "answering": 2**31, "of": "x"},
    "image": {"height": 768, "width": 1024, "tiles": 7, "tokens": 4725},
}  # fmt: skip
ENTRY = {"score": 1.234, "interval": [1.1, 1.3]}
DESCRIBED = {
    "dimensions": dict.fromkeys(("completeness", "precision", "relevance"), ENTRY),
    "sum": 3.702, "sum_interval": None, "images": 499, "judge": "judge & co",
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def test_counts_data_sets_and_refused_records_are_shown(run):
    fill(run)
    catalog(run)
    text = read(build(run, CONFIG).read_text())
    for expected in (
        "D1 scoring 600 600 1.00", "D2 interpreting 2,400 1,503 0.626", "test 24 12",
        "32 rows for validation losses", "<spaq> 1", "koniq 2", "d2.json no image 7",
        "qsit data audit",
    ):  # fmt: skip
        assert expected in text, expected


def test_an_audit_that_was_kept_is_shown(run):
    catalog(run)
    finding = {"kind": "in two splits", "count": 3, "examples": ["<a>", "b", "c", "d"]}
    artifacts.write_json(run.path / "audit.json", {"findings": [finding]})
    text = read(build(run, CONFIG).read_text())
    assert "in two splits 3 <a>, b, c" in text
    artifacts.write_json(run.path / "audit.json", {"findings": []})
    assert "Nothing found: no image is in two splits" in read(build(run, CONFIG).read_text())


def test_without_a_catalog_there_is_no_such_part(run):
    assert contents(run) is None
    page = build(run, CONFIG).read_text()
    assert 'id="data"' not in page and 'href="#data"' not in page


def test_the_efficiency_and_the_descriptions_that_were_kept_are_shown(run):
    artifacts.write_json(run.evaluation / "efficiency" / "primary.json", EFFICIENCY)
    artifacts.write_json(run.evaluation / "lldescribe" / "proxy.json", DESCRIBED)
    unmeasured = {**EFFICIENCY, "latency_seconds": None, "peak_memory_bytes": None, "device": None}
    artifacts.write_json(run.evaluation / "efficiency" / "7b.json", unmeasured)
    text = read(build(run, CONFIG).read_text())
    for expected in (
        "Primary, trained 894 9,860 20,000 60.0 123 500 2,050 <GPU>", "not timed",
        "An image of 1024 × 768 pixels", "Final proxy 1.234 1.100 to 1.300",
        "3.702 499 judge & co",
    ):  # fmt: skip
        assert expected in text, expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation/efficiency/primary.json", "{}"),
        ("evaluation/lldescribe/proxy.json", '{"dimensions": {}}'),
        ("audit.json", "{}"),
        ("audit.json", "["),
    ],
)
def test_a_kept_file_of_another_kind_is_named(run, name, content):
    catalog(run)
    artifacts.write_text(run.path / name, content)
    with pytest.raises(InputError, match=name):
        build(run, CONFIG)


def test_the_recipe_has_the_commands_and_what_differs(run):
    catalog(run)
    config = override(presets.demo(), ["train.epochs=2", "seed=7"])
    made_with = {"git": "abc1234", "versions": {"qsit_ray": "0.1.0", "torch": "2.13.0+cpu"}}
    history = [{"time": "2026-11-27", "changed": {"train.epochs": [3, 2]}}]
    found = recipe(run, config, {"made_with": made_with, "history": history}, [])
    assert found.commands.splitlines() == [
        "git checkout abc1234",
        "pip install -e . torch==2.13.0",
        f"qsit run --preset {run.config} --out runs/again",
    ]
    assert found.settings == (("seed", "0", "7"), ("train.epochs", "3", "2"))
    assert found.history == (("2026-11-27", "train.epochs", "3", "2"),)
    assert found.hashes[0][1] == artifacts.file_sha256(run.catalog / "manifest.json")
    assert "epochs: 2" in found.yaml


def test_the_recipe_is_on_the_page_and_makes_a_run(run):
    config = override(presets.demo(), ["train.epochs=2"])
    artifacts.write_text(run.config, recipe(run, config, {}, []).yaml)
    page = read(build(run, config).read_text())
    assert "1 setting differs from the preset demo" in page and "train.epochs 3 2" in page
    assert presets.resolve(str(run.config)) == config
