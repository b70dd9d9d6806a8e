"""rim: a short training of the 7B's layers on this machine's GPUs, run as a user would run it.

Layers are as wide as the 7B's and fewer, so that one GPU holds their optimiser states; the tower is
whole. Images have KonIQ's, SPAQ's and COCO's sizes. Figures are read from the run's own files.
Writes the section `gpu` of docs/GPU.md.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config, Mix
from qsit_ray.config.data import LlavaData, Rows
from qsit_ray.config.files import dump, override
from qsit_ray.config.presets import paper
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.sections import command_line, table, write_section
from qsit_ray.levels import LEVELS
from qsit_ray.models.architectures import architecture
from qsit_ray.stages.base_models import model_config
from qsit_ray.step_lines import Rates, StepLog
from qsit_ray.train.estimate import Estimate, estimate

SIZES = {"koniq": (768, 1024), "spaq": (3000, 4000), "coco": (480, 640)}
IMAGES = 8
"""Images of each size."""
SETTLING = 3
"""First steps, which compile and allocate, left out of the rates."""


def write_data(folder: Path, rows: int) -> LlavaData:
    """Training files of `rows` rows a domain, questions, and images that are smooth noise."""
    rng, images = np.random.default_rng(0), folder / "images"
    images.mkdir(parents=True)
    names = []
    for kind, (height, width) in SIZES.items():
        for number in range(IMAGES):
            small = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
            picture = Image.fromarray(small).resize((width, height))
            picture.save(images / f"{kind}-{number}.jpg", quality=90)
            names.append(f"{kind}-{number}.jpg")
    words = "it is rather sharp and a little noisy in darker parts".split()  # noqa: SIM905

    def record(identity: str, image: str, question: str, answer: str) -> dict[str, Any]:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"id": identity, "image": image, "conversations": turns}

    def text(count: int) -> str:
        return " ".join(rng.choice(words, count))

    scoring, interpreting, general = [], [], []
    for row in range(rows):
        name = names[row % (2 * IMAGES)]
        answer = f"The quality of the image is {LEVELS[row % 5]}."
        identity = f"{name}->{1 + row % 5}.0"
        scoring.append(record(identity, name, "<image>\nHow good is it?", answer))
        name = names[row % len(names)]
        interpreting.append(record("", name, "<image>\nDescribe its quality.", text(80)))
        name = names[2 * IMAGES + row % IMAGES]
        general.append(record("", name, "<image>\nDescribe it.", text(320)))
    question = {
        "question": "Is it sharp?",
        "candidates": ["yes", "no"],
        "correct_ans": "yes",
        "type": 0,
        "concern": 0,
    }
    questions = [{**question, "img_path": name} for name in names]
    tested = "".join(f"{name},{number}\n" for number, name in enumerate(names))
    (folder / "koniq.csv").write_text("image,mos\n" + tested)
    files = {
        "scoring.json": scoring,
        "interpreting.json": interpreting,
        "general.json": general,
        "questions.json": questions,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return LlavaData(
        images=str(images),
        scoring=(str(folder / "scoring.json"),),
        interpreting=(str(folder / "interpreting.json"),),
        general=(str(folder / "general.json"),),
        validation_questions=str(folder / "questions.json"),
        test_questions=str(folder / "questions.json"),
        test_images={"koniq": str(folder / "koniq.csv")},
        expected_rows=Rows(scoring=rows, interpreting=rows, general=rows),
    )


def configuration(base: str, data: LlavaData, settings: Sequence[str]) -> Config:
    """The paper's preset with `base` trained for an epoch at a given mix, without proxies."""
    config = paper()
    models = config.models.model_copy(update={"primary": base, "proxy": base})
    mix: Mix = {"scoring": 1.0, "interpreting": 1.0, "general": 1.0}
    changed = {"data": data, "models": models, "mix": mix}
    return override(
        config.model_copy(update=changed), ["train.controller=null", "train.epochs=1", *settings]
    )


def trained(run: RunFolder, config: Config) -> Rates:
    """Run every stage by the command line, and read the rates from its steps after the first.

    Raises RuntimeError when it fails; what it prints is on the screen.
    """
    preset = run.path.with_suffix(".yaml")
    preset.write_text(dump(config), encoding="utf-8")
    command = "from qsit_ray.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "run", "--preset", preset, "--out", run.path],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"qsit run ended with {done.returncode}")
    return Rates.of(StepLog(run.steps).lines()[SETTLING:])


def planned(config: Config, gpus: int, memory_gb: float) -> Estimate:
    """What `qsit train plan` says. Raises InputError where the training would not fit."""
    found = estimate(config, model_config(config.models.primary), None, gpus, memory_gb, None)
    if not found.fits:
        needed = max(found.peak_gib_per_gpu.values())
        raise InputError(f"{needed:.0f} GiB do not fit into {memory_gb:.0f} GB: lower --layers")
    return found


def write(out: Path, layers: int, steps: int) -> Rates:
    """Measure on all GPUs of this machine, write the section, and return the rates."""
    import torch

    from qsit_ray.evaluation.studies.random_model import write_random

    if not torch.cuda.is_available():
        raise InputError("no GPU here: this study measures GPUs")
    gpus = torch.cuda.device_count()
    properties = torch.cuda.get_device_properties(0)
    shape = architecture("7b")
    shape.text_config.num_hidden_layers = layers
    shape.text_config.layer_types = shape.text_config.layer_types[:layers]
    batch = 16 * gpus
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"Writing a checkpoint of {layers} layers with random weights ...", flush=True)
        base = write_random(folder / "base", shape)
        rows = batch * (steps + SETTLING)  # of three domains, a tenth of D1 held out
        data = write_data(folder / "data", math.ceil(rows / 2.9))
        settings = [f"train.workers={gpus}", f"train.training.batch_size={batch}"]
        run = RunFolder(folder / "run")
        config = configuration(base, data, settings)
        plan = planned(config, gpus, properties.total_memory / 1e9)
        print(f"Training {layers} layers on {gpus} × {properties.name} ...", flush=True)
        found = trained(run, config)
        tokens = int(read_tokens(run, "primary").tokens.max())
        seconds = run.completed()["evaluate"].device_seconds
    attention = "flash-attn" if _flash() else "torch's"
    write_section(
        out,
        "gpu",
        f"By {command_line('gpu', str(out), layers=layers, steps=steps)} on "
        f"{datetime.now(UTC).date()}: {gpus} × {properties.name}, PyTorch {torch.__version__}, "
        f"{attention} attention, {layers} layers of the 7B's 28 "
        f"({plan.parameters / 1e9:.2f} B parameters), global batches of {batch} rows, "
        f"{found.steps} steps after the first {SETTLING}, rows of at most {tokens} tokens.",
        table(
            ["figure", "measured", "planned"],
            [
                ["tokens a second", f"{found.tokens_per_second:,.0f}", ""],
                ["rows a second", f"{found.rows_per_second:.2f}", ""],
                ["model FLOPs utilisation", _percent(found.mfu), ""],
                ["share of a step that waits for rows", _percent(found.stall), ""],
                [
                    "peak memory of training, GiB a GPU",
                    "" if found.peak_memory_gib is None else f"{found.peak_memory_gib:.1f}",
                    f"{plan.peak_gib_per_gpu['training']:.1f}",
                ],
                ["seconds of the evaluation", f"{seconds:.0f}", ""],
            ],
        ),
    )
    return found


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f} %"


def _flash() -> bool:
    from transformers.utils import is_flash_attn_2_available

    return bool(is_flash_attn_2_available())
