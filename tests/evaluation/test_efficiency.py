"""Counted FLOPs equal analytic FLOPs; parameters are exact; timings are present."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from qsit_ray.cli import evaluate
from qsit_ray.data.encode import collate
from qsit_ray.demo import models
from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.errors import InputError
from qsit_ray.evaluation import efficiency
from qsit_ray.models import load
from qsit_ray.models.architectures import architecture
from qsit_ray.models.load import Checkpoint
from qsit_ray.models.loss import tensors
from qsit_ray.models.score import Prompter, logits_at_end
from qsit_ray.prompts import OFFICIAL, PAPER, level_tokens

# The figures are equal to the digit with torch 2.13 and transformers 5.23; another version may
# count a small product more or less, such as the one that makes position tables.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def checkpoint():
    tokenizer = make_tokenizer([], 0)
    model = models.make_model(models.DECODERS["primary"], tokenizer, 0)
    return Checkpoint(model, models.processor_of(model, tokenizer), "tiny")


@pytest.fixture(scope="module")
def result(checkpoint):
    crop = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    return efficiency.measure(checkpoint, PAPER, crop, answer_tokens=5, repeats=3, warmup=1)


def test_the_real_architectures_have_their_parameters():
    found = {
        name: efficiency.measure_architecture(name, PAPER, (384, 384)) for name in ("0.5b", "7b")
    }
    assert found["0.5b"].parameters["total"] == 893_675_552
    assert found["7b"].parameters["total"] == 8_029_890_080
    assert found["7b"].image == {
        "height": 384,
        "width": 384,
        "tiles": 2,
        "tokens": 729 + 756,
    }
    for measured in found.values():
        parts = dict(measured.parameters)
        assert parts.pop("total") == sum(parts.values())
        assert parts["tower"] == 397_747_744
        for figure in measured.flops.values():
            assert figure.counted == figure.analytic
        assert measured.latency_seconds is measured.peak_memory_bytes is None
        assert set(measured.reasons) == {"latency_seconds", "peak_memory_bytes"}


def test_the_0_5b_by_plain_arithmetic():
    """The same figure once more, from the published sizes alone."""
    found = efficiency.analytic_flops(architecture("0.5b"), 2, 1518)
    tower = 26 * (4 * 1152**2 + 2 * 1152 * 4304) + 588 * 1152
    projector = 1152 * 896 + 896**2
    decoder = 24 * (2 * 896**2 + 2 * 896 * 128 + 3 * 896 * 4864)
    attention = 2 * 26 * 4 * 1152 * 729**2 + 24 * 4 * 896 * 1518**2
    assert found == 2 * (2 * 729 * (tower + projector) + 1518 * decoder) + attention


@pytest.mark.parametrize("answer_tokens", [1, 2, 3, 7])
def test_steps_of_an_answer_are_counted_one_by_one(answer_tokens):
    """Counting only the first and the last step gives the sum over all."""
    tokenizer = make_tokenizer([], 0)
    config = models.make_model(models.DECODERS["proxy"], tokenizer, 0).config
    found = efficiency.count("tiny", PAPER, config, (64, 64), (20, 6), answer_tokens)
    flops = found.flops["answering"]
    assert flops.counted == flops.analytic


def test_the_counted_flops_are_those_of_the_live_model(checkpoint, result):
    """The live model with plain attention, run whole under the counter, gives the same figures."""
    processor, model = checkpoint.processor, checkpoint.model
    crop = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    prompter = Prompter(processor, None, PAPER)
    words = level_tokens(processor.tokenizer)
    scored = tensors(collate([prompter.score_prompt(crop)], 0))
    asked = tensors(collate([prompter.prompt(crop, PAPER.question)], 0))
    del asked["labels"]
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            with FlopCounterMode(display=False) as counter:
                logits_at_end(model, scored, words)
            scoring = counter.get_total_flops()
            with FlopCounterMode(display=False) as counter:
                model.generate(**asked, min_new_tokens=5, max_new_tokens=5, do_sample=False)
            answering = counter.get_total_flops()
    finally:
        model.set_attn_implementation(before)
    assert result.flops["scoring"].counted == pytest.approx(scoring, rel=TOLERANCE)
    assert result.flops["answering"].counted == pytest.approx(answering, rel=TOLERANCE)


def test_a_checkpoint_is_measured_with_every_key(checkpoint, result):
    assert result.model == "tiny" and result.dtype == "float32"
    assert result.device == f"cpu, {torch.get_num_threads()} thread(s)"
    assert result.image == {"height": 48, "width": 64, "tiles": 5, "tokens": 16 + 3 * 5}
    for figure in result.flops.values():
        assert figure.ratio == pytest.approx(1, abs=TOLERANCE)
    total = sum(p.numel() for p in checkpoint.model.parameters())
    tower = sum(p.numel() for p in checkpoint.model.model.vision_tower.parameters())
    parameters = result.parameters
    assert (parameters["total"], parameters["tower"]) == (total, tower)
    for seconds in result.latency_seconds.values():
        assert 0 < seconds.median <= seconds.p90 and seconds.repeats == 3
    memory = result.peak_memory_bytes
    assert 4 * total < memory.scoring <= memory.answering
    assert memory.of == "the process so far"
    prompt = result.prompt_tokens
    stem = prompt["scoring"] - prompt["answering"]
    assert stem == len(checkpoint.processor.tokenizer(PAPER.stem)["input_ids"])


def test_profiles_ask_with_different_prompts():
    paper, official = (
        efficiency.measure_architecture("0.5b", profile, (384, 384), 1).prompt_tokens
        for profile in (PAPER, OFFICIAL)
    )
    assert (paper["answering"], paper["scoring"]) == (1485 + 27, 1485 + 33)
    assert (official["answering"], official["scoring"]) == (1485 + 56, 1485 + 63)


def test_the_command_prints_one_object(checkpoint, tmp_path):
    load.save(checkpoint.model, checkpoint.processor, tmp_path / "model")
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    folder, image = str(tmp_path / "model"), str(tmp_path / "a.png")
    options = ["--image", image, "--answer-tokens", "3", "--repeats", "1", "--device", "cpu"]
    done = run([folder, *options, "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["image"]["tiles"] == 5 and printed["answer_tokens"] == 3
    done = run([folder, *options, "--profile", "official"])
    assert done.exit_code == 0 and "GFLOPs" in done.stdout
    done = run(["0.5b", "--image", image, "--json"])
    assert json.loads(done.stdout)["image"]["height"] == 48
    assert "without weights" in run(["0.5b"]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["7b", "--profile", "best"], "profile 'best' is not known"),
        (["7b", "--image", "none.png"], "none.png: image file is missing"),
        (["7b", "--image", __file__], "not a readable image"),
        (["7b", "--answer-tokens", "0"], "answer tokens is 0; it must be 1 or more"),
        (["7b", "--repeats", "3"], "7b has no weights and is not timed"),
        (["7b", "--device", "cpu"], "7b has no weights and is not timed"),
        (["m", "--device", "tpu"], "device 'tpu': it must be cpu"),
        ([str(Path(__file__).parent)], "evaluation: its config.json is missing; expected a LLaVA"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    done = run(arguments)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


def run(arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    evaluate.register(app)
    return CliRunner().invoke(app, ["efficiency", *arguments])
