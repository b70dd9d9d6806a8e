"""rim: the evaluate stage: three models on the test benchmarks, one Ray task for each model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from evaluation import iqa, llvisionqa
from evaluation.intervals import Bootstrap
from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.section import meaning
from qsit_ray.data.catalog import BenchmarkImage, Question, open_catalog
from qsit_ray.errors import InputError
from qsit_ray.levels import level_probabilities
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.placement import prediction
from qsit_ray.session import labels_of
from qsit_ray.soft_levels import spread
from qsit_ray.terminal import Terminal

SPLIT = "test"


@dataclass(frozen=True)
class Predictions:
    """One model's answers: scores in [1, 5], their predicted standard deviations in levels, and the
    values to rank by for each test image, all float64 [images], and a reply to each question.
    `seconds`: device time."""

    scores: NDArray[np.float64]
    stds: NDArray[np.float64]
    rank_keys: NDArray[np.float64]
    replies: list[str]
    seconds: float


def evaluate_models(
    run: RunFolder, config: Config, terminal: Terminal, primary_only: bool = False
) -> None:
    """Evaluate the primary, the untrained primary and the proxy; write evaluation/.

    Intervals are bootstrapped over photographs: crops of one photograph are not independent.
    Raises InputError when a model is missing.
    """
    models = {"primary": str(run.model), "primary_untrained": base_checkpoint(config, "primary")}
    if config.has_proxies:
        models["proxy"] = str(run.proxy_model)
    if primary_only:
        models = {"primary": models["primary"]}
    for name, model in models.items():
        if name != "primary_untrained" and not Path(model).exists():
            raise InputError(f"{model}: the {name} model is missing; train first")
    inputs = {
        "evaluate": meaning(config.evaluate),
        "seed": config.seed,
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
        "models": {name: identity(run, model, terminal.say) for name, model in models.items()},
    }
    if run.is_complete("evaluate", inputs):
        return
    catalog = open_catalog(run.catalog)
    images, questions = catalog.images(SPLIT), catalog.questions(SPLIT)
    with run.stage("evaluate", inputs) as cost, terminal.bar("Evaluate") as bar:
        predict = _predict.options(**options(config))
        tasks = {predict.remote(run, model, config): name for name, model in models.items()}
        pending = list(tasks)
        predictions: dict[str, Predictions] = {}
        while pending:
            bar.update(len(tasks) - len(pending), len(tasks), "models")
            (done,), pending = ray.wait(pending)
            predictions[tasks[done]] = ray.get(done)
        bar.update(len(tasks), len(tasks), "models")
        cost.device_seconds = sum(p.seconds for p in predictions.values())
        # Before they are graded: they cost device hours, and a mistake in grading must lose none.
        table = pa.concat_tables(_table(n, images, questions, predictions[n]) for n in models)
        with artifacts.atomic(run.evaluation / "predictions.parquet") as temporary:
            pq.write_table(table, temporary)
        truth = np.array([row["mos"] for row in images])
        datasets = np.array([row.get("dataset", config.data.source) for row in images])
        photographs = np.array([row["photograph"] for row in images])
        bootstrap = Bootstrap(config.seed, config.evaluate.confidence)
        scores = {
            name: {
                dataset: iqa.score_predictions(
                    truth[of_dataset],
                    predictions[name].scores[of_dataset],
                    rank_on=predictions[name].rank_keys[of_dataset],
                    cluster=photographs[of_dataset],
                    bootstrap=bootstrap,
                ).to_json()
                for dataset in dict.fromkeys(datasets.tolist())
                for of_dataset in [datasets == dataset]
            }
            for name in models
        }
        answers = {
            name: llvisionqa.grade_replies(
                questions,
                predictions[name].replies,
                rule="default",
                cluster=[question["photograph"] for question in questions],
                bootstrap=bootstrap,
            ).to_json()
            for name in models
        }
        artifacts.write_json(run.evaluation / "iqa.json", scores)
        artifacts.write_json(run.evaluation / "llvisionqa.json", answers)


def options(config: Config) -> dict[str, Any]:
    """What the predictions of one model ask Ray for."""
    request = prediction(config)
    return {
        "num_cpus": request.resources["CPU"],
        "num_gpus": request.resources.get("GPU", 0.0),
        "label_selector": labels_of(request),
    }


@ray.remote(max_retries=2)
def _predict(run: RunFolder, model: str, config: Config) -> Predictions:
    from qsit_ray.data.encode import Picture
    from qsit_ray.models import choice, load, score
    from qsit_ray.models.features import remember_features
    from qsit_ray.models.trainable import freeze
    from qsit_ray.prompts import PAPER

    began = time.monotonic()
    opened = open_catalog(run.catalog)
    checkpoint = load.load(model)
    checkpoint.model.to("cuda" if config.train.use_gpu else "cpu")
    cache: dict[str, Picture] | None = None
    if config.models.remember_features:
        cache = {}
        freeze(checkpoint.model, vision=True)
        remember_features(checkpoint.model, run.features)
    tokens, threads = config.evaluate.batch_tokens, config.evaluate.cpus - 1
    paths = [row["image"] for row in opened.images(SPLIT)]
    questions = opened.questions(SPLIT)
    logits = score.level_logits(
        checkpoint, paths, opened.folder, batch_tokens=tokens, cache=cache, threads=threads
    )
    answers = choice.answer(
        checkpoint, questions, opened.folder, batch_tokens=tokens, cache=cache, threads=threads
    )
    replies = [q["candidates"][int(p.argmax())] for q, p in zip(questions, answers, strict=True)]
    stds = spread(level_probabilities(logits))
    seconds = time.monotonic() - began
    return Predictions(PAPER.score(logits), stds, PAPER.rank_key(logits), replies, seconds)


def _table(
    model: str,
    images: Sequence[BenchmarkImage],
    questions: Sequence[Question],
    predicted: Predictions,
) -> pa.Table:
    """A row for each image, benchmark `iqa`, then for each question, benchmark `llvisionqa`."""
    no_image, no_question = [None] * len(questions), [None] * len(images)
    return pa.table(
        {
            "model": [model] * (len(images) + len(questions)),
            "benchmark": ["iqa"] * len(images) + ["llvisionqa"] * len(questions),
            "id": [image["image"] for image in images] + list(map(str, range(len(questions)))),
            "dataset": [image.get("dataset") for image in images] + no_image,
            "photograph": [each["photograph"] for each in (*images, *questions)],
            "truth": [image["mos"] for image in images] + no_image,
            "score": predicted.scores.tolist() + no_image,
            "std": predicted.stds.tolist() + no_image,
            "rank_key": predicted.rank_keys.tolist() + no_image,
            "question": no_question + [question["question"] for question in questions],
            "correct_ans": no_question + [question["correct_ans"] for question in questions],
            "reply": no_question + predicted.replies,
        }
    )
