"""Pools, tasks and models of one's own: two and four pools of text, from files to a report."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from command_line import call, epochs, read
from transformers import Qwen2ForCausalLM

from qsit_ray.config.config import Config
from qsit_ray.config.files import read_yaml, validated
from qsit_ray.config.presets import resolve
from qsit_ray.demo.models import DECODERS, decoder_config, make_tokenizer
from qsit_ray.errors import InputError
from qsit_ray.mixture import ratios_at

PAGE = Path(__file__).parents[1] / "docs" / "HOWTO_POOLS.md"
WORDS = ("red", "green", "blue", "warm", "cold", "left", "right", "north", "south", "quiet")
ROWS = {"chat": 60, "code": 80, "facts": 90, "songs": 70}
RATIOS = [0.3, 1.0, 3.0]


def language_model(folder, size):
    """A Qwen2 with random weights, and a tokenizer with its chat form."""
    tokenizer = make_tokenizer([" ".join(WORDS)] * 20)
    torch.manual_seed(0)
    Qwen2ForCausalLM(decoder_config(DECODERS[size], tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def records(pool, count):
    """A question and an answer that follows from it, of no image."""
    for number in range(count):
        a, b = WORDS[number % 10], WORDS[(3 * number + len(pool)) % 10]
        turns = [
            {"from": "human", "value": f"{pool}: what follows {a} and {b}?"},
            {"from": "gpt", "value": f"{b} {a} {pool}"},
        ]
        yield {"id": f"{pool}-{number}", "conversations": turns}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Two language models, and a file of records for each pool."""
    root = tmp_path_factory.mktemp("ground")
    language_model(root / "small", "proxy")
    language_model(root / "large", "primary")
    for pool, count in ROWS.items():
        (root / f"{pool}.json").write_text(json.dumps([*records(pool, count)]))
    return root


def example():
    """The configuration of the page."""
    (found,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return yaml.safe_load(found)


def space(axis):
    return {
        "axis": axis, "ratios": RATIOS, "seeds": [0], "objective": "losses",
        "coordinate": "log", "degree": 2,
    }  # fmt: skip


def settings(root, pools, axes):
    """The page's configuration over these pools, as small as it can be."""
    found = example()
    found["data"]["pools"] = {pool: [str(root / f"{pool}.json")] for pool in pools}
    found["tasks"] = [pools[0], pools[1]]
    found["models"] |= {"proxy": str(root / "small"), "primary": str(root / "large")}
    found["search"] |= {
        "axes": {axis: space(axis) for axis in axes}, "max_steps": 4, "evaluate_every": 2,
        "proxy_seeds": [0, 1], "max_repeats": 8,
    }  # fmt: skip
    found["train"] |= {"epochs": 2, "workers": 1}
    return found


def test_the_pages_configuration_is_whole(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(example()))
    config = resolve(str(tmp_path / "mine.yaml"))
    assert config.pools == ("chat", "code")
    assert [axis.name for axis in config.axes] == ["code_chat"]
    assert not config.has_benchmarks
    assert validated(Config, config.model_dump(mode="json"), "again") == config


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.pools.3rd", ["a.json"], "'3rd' can't be a pool's name"),
        ("data.pools.ratio", ["a.json"], "'ratio' can't be a pool's name"),
        ("data.pools.songs", [], "data.pools.songs"),
        ("data.pools", {"chat": ["a.json"]}, "1 pools; expected 2 to 4"),
        ("tasks", ["code", "chat"], "expected the first pool, chat, and another, of code"),
        ("search.axes", {}, "search.axes: code_chat is missing"),
        ("search.axes.chat_code", space("chat_code"), "the axes are code_chat"),
        ("search.axes.code_chat.objective", "both", "expected loss_chat, loss_code, losses"),
        ("search.axes.code_chat.axis", "other", "its axis is 'other'"),
        ("mix", {"chat": 1.0}, "expected a number for each of chat, code"),
        ("mix", {"chat": 0.0, "code": 0.0}, "no rows in any pool"),
        ("levels", {"target": "soft"}, "no level words"),
    ],
)
def test_a_mistake_in_the_names_is_told_by_its_key(tmp_path, key, value, said):
    changed = example()
    *parents, name = key.split(".")
    target = changed
    for parent in parents:
        target = target.setdefault(parent, {})
    target[name] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(changed))
    with pytest.raises(InputError, match=re.escape(said)):
        resolve(str(tmp_path / "mine.yaml"))


def test_a_models_text_is_refused_where_images_are_judged(ground, tmp_path):
    base = f"models.proxy={ground / 'small'}"
    done = call("run", "--preset", "demo", "--out", tmp_path / "run", "--set", base)
    assert done.returncode == 2
    assert "it reads text alone, and images are to be judged" in done.stderr


def test_a_row_with_an_image_is_refused_for_a_model_of_text(ground, tmp_path):
    shutil.copytree(ground, tmp_path / "root")
    root = tmp_path / "root"
    from PIL import Image

    Image.new("RGB", (40, 30)).save(root / "a.png")
    (one, *others) = records("code", 20)
    one["image"] = "a.png"
    one["conversations"][0]["value"] += "\n<image>"
    (root / "code.json").write_text(json.dumps([*others, one]))
    found = settings(root, ["chat", "code"], ["code_chat"])
    found["data"]["images"] = str(root)
    (root / "mine.yaml").write_text(yaml.safe_dump(found))
    done = call("data", "build", tmp_path / "run", "--preset", root / "mine.yaml")
    assert done.returncode == 2
    assert "(code-0): it has an image, and models.proxy" in done.stderr


def test_remembered_features_are_refused_for_a_model_of_text(ground, tmp_path):
    found = settings(ground, ["chat", "code"], ["code_chat"])
    found["models"]["remember_features"] = True
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(found))
    done = call("run", "--preset", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "set models.remember_features to false" in done.stderr
    assert not (tmp_path / "run" / "catalog").exists()


def test_other_tasks_hold_other_rows_out(ground, tmp_path):
    """Also where the catalog is there already."""
    pools = ["chat", "code", "facts"]
    found = settings(ground, pools, ["code_facts", "code_chat"])
    for tasks in (["chat", "code"], ["chat", "facts"]):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(found | {"tasks": tasks}))
        done = call("data", "build", tmp_path / "run", "--preset", tmp_path / "mine.yaml")
        assert done.returncode == 0, done.stderr
        held = pq.read_table(tmp_path / "run" / "catalog" / "validation.parquet")
        assert set(held["domain"].to_pylist()) == set(tasks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pools", "axes"),
    [
        (["chat", "code"], ["code_chat"]),
        (["chat", "code", "facts", "songs"], ["facts_songs", "facts_code", "facts_chat"]),
    ],
)
def test_pools_of_text_are_mixed_from_files_to_a_report(ground, tmp_path, pools, axes):
    run, mine = tmp_path / "run", tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(settings(ground, pools, axes)))
    done = call("run", "--preset", mine, "--out", run)
    assert done.returncode == 0, done.stdout + done.stderr
    config = validated(Config, _settings(run), "config.yaml")
    rows = pq.read_table(run / "catalog" / "rows.parquet").to_pylist()
    held = pq.read_table(run / "catalog" / "validation.parquet").to_pylist()
    sizes = {pool: sum(row["domain"] == pool for row in rows) for pool in pools}
    for pool in pools:
        kept_out = sum(row["domain"] == pool for row in held)
        assert sizes[pool] + kept_out == ROWS[pool]
        assert (kept_out > 0) == (pool in config.tasks)
    optima = {axis: read(run / "search" / axis / "fit.json")["ratio"] for axis in axes}
    mixture = read(run / "mixture.json")
    assert mixture["ratios"] == pytest.approx(ratios_at(pools, optima))
    for axis in axes:
        columns = pq.read_table(run / "search" / axis / "trials.parquet").column_names
        assert [name for name in columns if name.startswith("rows_")] == [
            f"rows_{pool}" for pool in pools
        ]
        assert {"loss_chat", "loss_code"} <= set(columns)
    lines = epochs(run)
    assert [line["planned"] == line["consumed"] for line in lines] == [True, True]
    for line in lines:
        assert [*line["sizes"]] == pools
        assert line["loss_ratio"] == line["loss_chat"] / line["loss_code"]
        assert line["verdict"] in ("hold", "grow_chat", "grow_code")
    assert (run / "train" / "model" / "model.safetensors").exists()
    page = (run / "report.html").read_text()
    for number, pool in enumerate(pools, start=1):
        assert f">D{number}</b> {pool}" in page
    assert "Evaluation on the test set" not in page
    shown = call("train", "show", run)
    assert shown.returncode == 0 and "L_chat" in shown.stdout
    # All of it is complete: the same command has nothing to do.
    again = call("run", "--out", run)
    assert again.returncode == 0, again.stderr
    assert read(run / "mixture.json") == mixture


def _settings(run):
    values = read_yaml(run / "config.yaml")
    return {key: value for key, value in values.items() if key not in ("made_with", "history")}
