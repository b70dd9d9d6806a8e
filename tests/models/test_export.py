"""An exported model answers as the trained one did, and its card describes the run."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from qsit_pools import losses, ratios
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.files import override
from qsit_ray.config.presets import demo, paper
from qsit_ray.data.encode import Encoder, collate
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.models import load
from qsit_ray.models.export import Result, card, export
from qsit_ray.models.loss import tensors
from qsit_ray.rating.rater import Rater
from qsit_ray.run_files import EpochLine, FoundMix

ROOT = Path(__file__).parents[2]
MIXTURE = FoundMix(
    ratios=ratios(1.0, 2.5, 1.04),
    reference_loss_ratio=0.2146,
    loss_mask="answer",
    rows=Mixture.of(40, 100, 42),
)
EPOCH = EpochLine(
    epoch=0,
    sizes=MIXTURE.rows,
    losses=losses(0.25, 1.25),
    loss_ratio=0.2,
    reference_loss_ratio=0.2146,
    verdict="hold",
    next_sizes=None,
    srcc=0.5,
    accuracy=0.5,
    plan_sha256="ab" * 32,
    consumed=1,
    planned=1,
    rows_planned=182,
    rows_trained=182,
    rows_skipped=0,
    answers_cut=0,
    timing={"train_seconds": 1.0},
)
IQA = {"koniq": {"srcc": 0.9513, "plcc": None, "rows": 2010}}
QUESTIONS = {"accuracy": 0.7512, "random_guess": 0.3794, "rows": 1495}
RESULTS = [
    Result("image quality scoring", "koniq", {"srcc": 0.9513, "plcc": None}, "2,010 images"),
    Result(
        "image quality questions", "llvisionqa", {"accuracy": 0.7512}, "1,495 questions", 0.3794
    ),
]


@pytest.fixture
def run(checkpoint, tmp_path):
    folder = RunFolder(tmp_path / "run")
    load.save(checkpoint.model, checkpoint.processor, folder.model)
    artifacts.write_json(folder.mixture, MIXTURE.to_json())
    artifacts.write_jsonl(folder.epochs, [EPOCH.to_json()])
    return folder


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_outputs_are_the_same_before_and_after(run, checkpoint, images, tmp_path):
    (run.model / "optimizer.bin").write_bytes(b"pickled")
    names = export(run, demo(), tmp_path / "out")
    assert "README.md" in names
    assert not any(name.endswith(".bin") for name in names)
    back = load.load(tmp_path / "out")
    theirs = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "out")
    row = Encoder(back.processor, images, 512).prompt("a.png", "<image>\nWhat?")
    batch = tensors(collate([row], 0))
    del batch["labels"]
    # transformers alone takes its own processor's numbers.
    pixels = back.processor.image_processor(images=[Image.open(images / "a.png")])["pixel_values"]
    their_batch = {**batch, "pixel_values": torch.from_numpy(np.stack(pixels))}
    with torch.no_grad():
        wanted = checkpoint.model(**batch).logits
        for model, inputs in ((back.model, batch), (theirs, their_batch)):
            assert torch.allclose(model(**inputs).logits, wanted, atol=1e-5)
    assert theirs.generation_config.eos_token_id == checkpoint.model.generation_config.eos_token_id


def test_the_chat_form_is_that_of_the_training_rows(run, tmp_path):
    export(run, demo(), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": "How sharp is it?"}],
        }
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\n<image>\nHow sharp is it?<|im_end|>\n<|im_start|>assistant\n"


IMAGE = {"type": "image"}


@pytest.mark.parametrize(
    ("parts", "turn"),
    [
        (["Sharp?", IMAGE], "Sharp?\n<image>"),
        (["Sharp?\n", IMAGE], "Sharp?\n<image>"),
        ([IMAGE, "Sharp?"], "<image>\nSharp?"),
        ([IMAGE, "\nSharp?"], "<image>\nSharp?"),
        ([IMAGE, IMAGE, "Which?"], "<image>\n<image>\nWhich?"),
        (["Is", " it?"], "Is it?"),
        ([IMAGE], "<image>"),
    ],
)
def test_an_image_has_a_line_of_its_own_and_no_more(checkpoint, parts, turn):
    """The scoring question has its image behind the text, with nothing after it."""
    content = [part if part == IMAGE else {"type": "text", "text": part} for part in parts]
    text = checkpoint.processor.apply_chat_template([{"role": "user", "content": content}])
    assert text == f"<|im_start|>user\n{turn}<|im_end|>\n"


def test_the_cards_programs_run_as_they_stand(run, tmp_path):
    """Each in a process of its own, the third below the second; they give the score and the answer
    that the run's model gives. Without torchvision, as this environment is."""
    assert find_spec("torchvision") is None
    out = tmp_path / "out"
    export(run, demo(), out)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(out / "photo.jpg", exif=exif)
    rater = Rater.load(run.model)
    expected = rater.score(out / "photo.jpg").score
    answer = rater.ask(out / "photo.jpg", "Is it sharp?").text
    programs = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    with_rater, scoring, answering = programs
    for program in (with_rater, scoring + answering):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=out,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        score, found = done.stdout.removesuffix("\n").split(maxsplit=1)
        assert float(score) == pytest.approx(expected, abs=1e-4)
        assert found == answer
    picture = Image.fromarray(pixels).quantize(8)
    picture.save(out / "photo.jpg", "PNG", transparency=picture.getpixel((0, 0)))
    asked = [sys.executable, "-c", scoring]
    done = subprocess.run(asked, cwd=out, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(rater.score(out / "photo.jpg").score, abs=1e-5)


def test_an_export_that_fails_late_leaves_no_folder(run, tmp_path):
    def failing(folder):
        assert (folder / "README.md").exists()
        raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        export(run, demo(), tmp_path / "out", finish=failing)
    assert not (tmp_path / "out").exists()
    export(run, demo(), tmp_path / "out", finish=lambda folder: (folder / "more.json").touch())
    assert (tmp_path / "out" / "more.json").exists()


def test_a_target_that_exists_is_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out: exists already"):
        export(run, demo(), tmp_path / "out")


def test_a_run_without_a_complete_model_is_refused(run, tmp_path):
    (run.model / "generation_config.json").unlink()
    with pytest.raises(InputError, match=r"generation_config\.json: missing"):
        export(run, demo(), tmp_path / "out")
    with pytest.raises(InputError, match="has not been trained to its end"):
        export(RunFolder(tmp_path / "other"), demo(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_exported_card_has_the_runs_evaluation(run, tmp_path):
    artifacts.write_json(run.evaluation / "iqa.json", {"primary": IQA, "proxy": {}})
    artifacts.write_json(run.evaluation / "llvisionqa.json", {"primary": QUESTIONS})
    export(run, paper(), tmp_path / "out", "apache-2.0")
    assert (tmp_path / "out" / "README.md").read_text() == card(
        paper(), MIXTURE, [EPOCH], RESULTS, "apache-2.0"
    )


def test_the_front_matter_is_yaml_that_the_hub_reads():
    front = front_matter(card(paper(), MIXTURE, [EPOCH], RESULTS, "apache-2.0"))
    assert front["license"] == "apache-2.0"
    assert front["base_model"] == paper().models.primary
    assert front["pipeline_tag"] == "image-text-to-text"
    results = front["model-index"][0]["results"]
    found = {(r["dataset"]["name"], m["type"]): m["value"] for r in results for m in r["metrics"]}
    # An undefined metric is left out, not written as null.
    assert found == {("koniq", "srcc"): 0.9513, ("llvisionqa", "accuracy"): 0.7512}
    json.dumps(front)


def test_the_card_has_data_ratio_balance_and_mask():
    text = card(paper(), MIXTURE, [EPOCH], RESULTS)
    assert "= 1 : 2.5 : 1.04." in text
    assert f"| 0 | 40 | 100 | 42 | 182 | `{'ab' * 32}` |" in text
    assert "| reference loss ratio λ | 0.2146 |" in text
    assert "| tokens in the loss (mask) | `answer` |" in text
    assert "SRCC 0.951, PLCC undefined" in text
    assert "accuracy 0.751 (random guess 0.379)" in text
    assert "`data/scoring_koniq.json`" in text
    assert front_matter(text)["license"] == "other"


def test_missing_results_are_not_on_the_card():
    text = card(demo(), replace(MIXTURE, reference_loss_ratio=None), [], [])
    assert "Not evaluated yet." in text
    assert "| reference loss ratio λ | none |" in text
    front = front_matter(text)
    assert "model-index" not in front
    assert "base_model" not in front  # the demo's own is not on the Hub


def test_adapters_and_rates_are_on_the_card():
    config = override(paper(), ["train.lora={rank: 8}", "train.rates.vision=2.0e-6"])
    text = card(config, MIXTURE, [EPOCH], [])
    assert "vision, projector, language (low-rank adapters, rank 8, merged)" in text
    assert "| peak learning rate | 1e-05, vision 2e-06 |" in text
