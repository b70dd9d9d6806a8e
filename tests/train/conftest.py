"""A base checkpoint with random weights, a catalog of 24 rows, and training runs without Ray."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from qsit_pools import ratios

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.data import catalog, writing
from qsit_ray.demo.models import DECODERS, make_model, processor_of
from qsit_ray.demo.pretrain import make_tokenizer
from qsit_ray.mixture import Mixture
from qsit_ray.models import load
from qsit_ray.prompts import PAPER
from qsit_ray.run_files import FoundMix
from qsit_ray.stages.tokens import count_tokens
from qsit_ray.terminal import Terminal
from qsit_ray.train.checkpoint import Checkpoints
from qsit_ray.train.state import Job

DOMAINS = ("scoring", "interpreting", "general")
ASKED = {
    "scoring": ("<image>\nHow good is it?", "The quality of the image is good."),
    "interpreting": ("<image>\nIs it blurred?", "no, it is sharp"),
    "general": ("Name two colours, and say which of them you like more.", "red and blue, the red"),
}


def row(domain, number, image):
    human, gpt = ASKED[domain]
    if domain == "scoring" and number % 2:
        human = PAPER.question
    shown = [] if domain == "general" else [image]
    if domain == "interpreting" and number % 4 == 3:
        shown, human = [image, "images/0.png"], f"<image>\n{human}"
    turns = [("human", human), ("gpt", gpt + " indeed" * (number % 3))]
    return {
        "id": f"{domain}-{number}",
        "domain": domain,
        "images": [{"path": name, "height": 64, "width": 64} for name in shown],
        "conversation": [{"from": who, "value": text} for who, text in turns],
        "mos": 3.0 if domain == "scoring" else None,
        "level": "good" if domain == "scoring" else None,
        "photograph": image,
    }


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """A Job that needs no Ray: batches of 8 rows; some are text only, some have two images."""
    folder = tmp_path_factory.mktemp("job")
    tokenizer = make_tokenizer([], 0)
    model = make_model(DECODERS["proxy"], tokenizer, 0)
    load.save(model, processor_of(model, tokenizer), folder / "base")
    rng = np.random.default_rng(0)
    (folder / "catalog" / "images").mkdir(parents=True)
    names = [f"images/{number}.png" for number in range(8)]
    for name in names:
        pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "catalog" / name)
    rows = [row(domain, n, names[n]) for domain in DOMAINS for n in range(8)]
    validation = [row(domain, n, names[n]) for domain in DOMAINS[:2] for n in range(5)]
    images = [{"image": n, "mos": float(i), "photograph": n} for i, n in enumerate(names[:5])]
    questions = [
        {
            "question": "What is it?",
            "img_path": name,
            "candidates": ["noise", "a cat", "blur"][: 2 + number % 2],
            "correct_ans": "noise",
            "photograph": name,
        }
        for number, name in enumerate(names[:5])
    ]
    content = catalog.Content(rows, validation, {"validation": images}, {"validation": questions})
    writing.write(folder / "catalog", content)
    config = presets.demo().model_copy(update={"pretraining": None})
    base = str(folder / "base")
    models = config.models.model_copy(
        update={"proxy": base, "primary": base, "remember_features": False, "freeze_vision": False}
    )
    settings = ["models.max_length=4096", "train.training.batch_size=8", "train.micro_batch=2"]
    settings += ["loss=row_mean"]
    config = override(
        config.model_copy(update={"models": models}), [*settings, "evaluate.batch_tokens=1024"]
    )
    count_tokens(RunFolder(folder), config, Terminal())
    return Job(
        run=RunFolder(folder),
        config=config,
        base=base,
        mixture=FoundMix(
            ratios(1.0, 4 / 3, 1.0), None, "answer", Mixture.of(48, 64, 48), loss="row_mean"
        ),
        checkpoints=Checkpoints(folder / "ray", kept=2),
        session="none",
    )


@pytest.fixture(scope="session")
def steps(job, tmp_path_factory, request):
    """Runs `steps.py` on some ranks; returns rank 0's results, with the `folder` they are in. With
    --gpu a rank has a GPU of its own, so there are no more ranks than GPUs."""
    gpu = request.config.getoption("--gpu")

    def run(
        world_size,
        *,
        first=0,
        last=20,
        settings=(),
        loss="row_mean",
        resume=None,
        validate=True,
        rehearse=False,
        base=job.base,
    ):
        folder = tmp_path_factory.mktemp("steps")
        if gpu:
            world_size = min(world_size, torch.cuda.device_count())
            settings = [*settings, "use_gpu=true"]
        trained = [f"train.{setting}" for setting in settings]
        config = override(job.config, [*trained, f"loss={loss}"])
        asked = {
            "job": replace(job, config=config, base=base),
            "first": first,
            "last": last,
            "resume": resume,
            "validate": validate,
            "rehearse": rehearse,
        }
        (folder / "asked.pickle").write_bytes(pickle.dumps(asked))
        script = str(Path(__file__).with_name("steps.py"))
        ranks = [
            subprocess.Popen(
                [sys.executable, script, str(folder)],
                env={**os.environ, **environment(rank, world_size, gpu)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(world_size)
        ]
        printed = [rank.communicate()[0] for rank in ranks]
        for rank, text in zip(ranks, printed, strict=True):
            assert rank.returncode == 0, text[-3000:]
        results = json.loads((folder / "results.json").read_text())
        return {**results, "folder": folder, "world_size": world_size}

    return run


def environment(rank, world_size, gpu):
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "DS_ACCELERATOR": "cuda" if gpu else "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
