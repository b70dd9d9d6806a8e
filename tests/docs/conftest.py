"""The folder in which the commands of the pages run: the files that they name, in small."""

import json
from io import StringIO
from itertools import count

import numpy as np
import openpyxl
import pandas as pd
import pytest
from page_commands import ROOT, blocks
from PIL import Image
from qsit_pools import losses, ratios
from scipy.io import savemat

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.files import dump
from qsit_ray.config.presets import demo
from qsit_ray.controller import MixtureController, Reference
from qsit_ray.data import writing
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.models.architectures import architecture
from qsit_ray.run_files import FoundMix
from qsit_ray.search.trials import TrialOutcome, write_trials
from qsit_ray.train.checkpoint import Checkpoints
from qsit_ray.train.state import Consumed, Job, Measured, TrainState

SIZES = {"scoring": 40, "interpreting": 90, "general": 70}
FIRST = Mixture.of(40, 60, 30)
LEVELS = ("bad", "poor", "fair", "good", "excellent")
SEEDS = count()


def drawn(rows, *names):
    """Columns of numbers."""
    chance = np.random.default_rng(next(SEEDS))
    return {name: chance.normal(size=rows) for name in names}


def photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (24, 32, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def planted_run(folder):
    """A run whose searches and first epoch are done, without a model."""
    config = demo()
    artifacts.write_text(folder.config, dump(config))
    writing.write_counts(folder.catalog, SIZES)
    for space in (config.search.interpreting_general, config.search.interpreting_scoring):
        points = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
        noise = np.random.default_rng(0).normal(0, 0.002, len(points))
        rows = [
            TrialOutcome(
                *point, Mixture.of(1, 1, 1), 0.5 - 0.01 * np.log(point[0] / 3) ** 2 + each,
                steps=4, device_seconds=1.0,
            )
            for point, each in zip(points, noise, strict=True)
        ]  # fmt: skip
        write_trials(folder.trials(space.axis), rows)
    mixture = FoundMix(ratios(1.0, 1.5, 0.75), 0.5, "answer", FIRST)
    artifacts.write_json(folder.mixture, mixture.to_json())
    decision = MixtureController(FIRST, [Reference(0.0, 0.5)]).observe(0, losses(0.3, 1.0))
    plan = plan_epoch(FIRST, SIZES, 0, config.seed, config.train.training.batch_size)
    timing = {"train_seconds": 8.0, "stall_seconds": 2.0, "validation_seconds": 1.0}
    state = TrainState(consumed=Consumed(plan.planned, len(plan.rows)), timing=timing)
    job = Job(folder, config, "base", mixture, Checkpoints(folder.train, 1), "session")
    artifacts.write_jsonl(
        folder.epochs,
        [job.line(plan, state, decision, Measured(losses(0.3, 1.0), None, 0.5)).to_json()],
    )
    models = ["primary"] * 20 + ["proxy"] * 20
    folder.evaluation.mkdir()
    pd.DataFrame(
        {
            "model": models,
            "benchmark": "iqa",
            "id": [f"{n}.png" for n in range(20)] * 2,
            "photograph": [f"{n % 4}" for n in range(20)] * 2,
            "truth": np.tile(np.arange(20.0), 2),
            **drawn(40, "score"),
        }
    ).to_parquet(folder.evaluation / "predictions.parquet")


def tables(folder):
    """Tables with the columns that the pages name."""
    images = [f"{n}.jpg" for n in range(60)]
    mos = np.linspace(1.2, 93.0, 60)
    made = {
        "spaq.csv": {"image": images, "mos": mos},
        "out.csv": {"image": images, "mos": mos, **drawn(60, *(f"l_{word}" for word in LEVELS))},
        "joined.csv": {"image": images, "mos": mos, **drawn(60, "score")},
        "p.csv": {
            "image": images, "mos": mos, **drawn(60, *(f"L{n}" for n in range(1, 6))),
            **{f"c{n}": [n] * 60 for n in range(1, 6)},
        },
        "runs.csv": {"ratio": [0.1, 0.3, 1.0, 3.0, 10.0] * 3, **drawn(15, "score")},
        "a.csv": {"id": images, "truth": mos, **drawn(60, "score")},
        "b.csv": {"img_path": images[:8], "answer": ["A", "B"] * 4},
        "answers.csv": {"answer": ["The quality is good.", "Seven of ten."]},
    }  # fmt: skip
    weights = np.random.default_rng(7).dirichlet((2, 2, 2), 24)
    made["swarm.csv"] = {
        **dict(zip(("w_code", "w_text", "w_math"), weights.T, strict=True)),
        **drawn(24, "val_loss"),
    }
    for name, columns in made.items():
        pd.DataFrame(columns).to_csv(folder / name, index=False)
    half = {"dataset": ["koniq", "spaq"] * 30}
    frame = pd.DataFrame({"image": images, "mos": mos, **drawn(60, "pred"), **half})
    frame.to_json(folder / "out.jsonl", orient="records", lines=True)
    pd.DataFrame({"id": images, **drawn(60, "score")}).to_json(
        folder / "b.jsonl", orient="records", lines=True
    )
    pd.DataFrame(
        {"img_path": images, "gt_score": mos, **drawn(60, "logit_good", "logit_poor")}
    ).to_json(folder / "koniq.json", orient="records")
    pd.DataFrame({"id": images, "mos": mos, **drawn(60, *LEVELS)}).to_parquet(
        folder / "million.parquet"
    )


def questions(folder):
    """LLVisionQA's questions, and replies as programs write them."""
    asked = [
        {
            "type": n % 3, "concern": n % 4, "question": f"Question {n}?", "img_path": f"{n}.jpg",
            "candidates": ["Yes", "No"], "correct_ans": "Yes",
        }
        for n in range(8)
    ]  # fmt: skip
    replies = ["A", "Yes", "No", "B. No", None, "yes.", "A", "A"]
    for name, content in (
        ("llvisionqa_dev.json", asked),
        ("replies.json", replies),
        ("a.json", replies),
    ):
        (folder / name).write_text(json.dumps(content))
    rows = [
        {"index": n, "question": f"Question {n}?", "A": "Yes", "B": "No", "answer": "A",
         "prediction": "A", "image_path": f"{n}.jpg"}
        for n in range(4)
    ]  # fmt: skip
    pd.DataFrame(rows).to_excel(folder / "model_Q-Bench1_VAL.xlsx", index=False)
    lines = [
        {
            "doc_id": n, "target": "A", "filtered_resps": ["A"],
            "doc": {"id": n, "question": f"Question {n}?", "option0": "Yes", "option1": "No",
                    "option2": "N/A", "option3": "N/A", "correct_choice": "A",
                    "question_concern": n % 4, "question_type": n % 3},
        }
        for n in range(4)
    ]  # fmt: skip
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "20261127_samples_qbench_dev.jsonl").write_text(text)


def databases(data):
    """KonIQ-10k, SPAQ and LIVE-itw as their owners ship them, in small."""
    names = ["image_name", *(f"c{k}" for k in range(1, 6)), "c_total", "MOS", "SD", "MOS_zscore"]
    rows = [(f"{n}.jpg", 1, 2, 3, 2, 1, 9, 3.0, 0.5, 8.0 + n / 80) for n in range(6000)]
    frame = pd.DataFrame(rows, columns=names)
    koniq = data / "koniq10k"
    koniq.mkdir(parents=True)
    frame.to_csv(koniq / "koniq10k_scores_and_distributions.csv", index=False)
    splits = np.where(np.arange(len(frame)) % 5, "training", "test")
    frame.assign(set=splits).to_csv(koniq / "koniq10k_distributions_sets.csv", index=False)
    for n in range(len(frame)):
        path = koniq / "1024x768" / f"{n}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    spaq = data / "SPAQ"
    spaq.mkdir()
    book = openpyxl.Workbook()
    book.active.append(
        ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    )
    for n in range(50):
        book.active.append([f"{n:05}.jpg", 40 + n, *([n * 2] * 5)])
        photograph(spaq / "TestImage" / f"{n:05}.jpg")
    book.save(spaq / "MOS and Image attribute scores.xlsx")
    livec = data / "livec"
    livec.mkdir()
    cells = np.empty((9, 1), dtype=object)
    cells[:, 0] = [np.array([f"{n}.bmp"]) for n in range(9)]
    savemat(livec / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(livec / "AllMOS_release.mat", {"AllMOS_release": np.arange(9.0)[None]})
    savemat(livec / "AllStdDev_release.mat", {"AllStdDev_release": np.full((1, 9), 4.0)})
    for n in range(9):
        photograph(livec / "Images" / f"{n}.bmp")


def own_data(folder):
    """The folder of the second tutorial, of the examples that it shows."""
    page = ROOT / "docs" / "TUTORIAL_OWN_DATA.md"
    records, asked = (json.loads(text) for _, text in blocks(page, ("json",)))
    table = next(text for _, text in blocks(page, ("text",)) if text.startswith("image,mos"))
    shown = pd.read_csv(StringIO(table))
    more = [f"photos/{n:04}.jpg" for n in range(100, 130)]
    whole = pd.DataFrame(
        {"image": [*shown.image, *more], "mos": [*shown.mos, *np.linspace(1, 5, 30).round(2)]}
    )
    whole.to_csv(folder / "scores.csv", index=False)
    whole.to_csv(folder / "downloads" / "scores.csv", index=False)
    general = [
        {**record, "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cup."}
        ]}
        for record in records
    ]  # fmt: skip
    for name, content in (
        ("about_quality", records), ("general", general), ("questions", asked)
    ):  # fmt: skip
        (folder / "downloads" / f"{name}.json").write_text(json.dumps(content))
    for name in (*whole.image, asked[0]["img_path"]):
        photograph(folder / "downloads" / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files that commands name; those of /data are in databases/."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("runs", "downloads", "data", "d2", "databases"):
        (folder / name).mkdir()
    for name in ("RUN", "runs/demo"):
        planted_run(RunFolder(folder / name))
    (folder / "other.yaml").write_text("{extends: demo, seed: 3}")
    (folder / "databases" / "downloads").symlink_to(folder / "downloads")
    (folder / "models" / "my-0.5b").mkdir(parents=True)
    architecture("0.5b").to_json_file(folder / "models" / "my-0.5b" / "config.json")
    (folder / "cluster.yaml").symlink_to(ROOT / "cluster.yaml")
    tables(folder)
    questions(folder)
    databases(folder / "databases")
    own_data(folder)
    return folder
