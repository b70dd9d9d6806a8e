"""rim: the evaluate stage: three models on the test benchmarks, one Ray task a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from evaluation import iqa, llvisionqa
from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import open_catalog
from qsit_ray.errors import InputError
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.terminal import Terminal

SPLIT = "test"


def evaluate(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Score and question the primary, the untrained primary and the proxy; write evaluation/.

    Intervals are bootstrapped over photographs: crops of one photograph are not independent.
    Raises InputError when a model is missing.
    """
    trained = {"primary": run.model}
    if config.has_proxies:
        trained["proxy"] = run.proxy_model
    for name, folder in trained.items():
        if not folder.exists():
            raise InputError(f"{folder}: the {name} model is missing; train first")
    models = {
        "primary": str(run.model),
        "primary_untrained": base_checkpoint(config, "primary"),
        **{name: str(folder) for name, folder in trained.items()},
    }
    inputs = {
        "evaluate": config.evaluate.model_dump(mode="json"),
        "seed": config.seed,
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
        "models": {name: identity(model) for name, model in models.items()},
    }
    if run.is_complete("evaluate", inputs):
        return
    catalog = open_catalog(run.catalog)
    images, questions = catalog.images(SPLIT), catalog.questions(SPLIT)
    with run.stage("evaluate", inputs) as cost, terminal.bar("Evaluate") as bar:
        predict = _predict.options(num_gpus=1 if config.train.use_gpu else 0)
        tasks = {predict.remote(run, model, config): name for name, model in models.items()}
        pending, predictions = list(tasks), {}
        while pending:
            bar.update(len(tasks) - len(pending), len(tasks), "models")
            (done,), pending = ray.wait(pending)
            predictions[tasks[done]] = ray.get(done)
        bar.update(len(tasks), len(tasks), "models")
        cost["device_seconds"] = sum(p["seconds"] for p in predictions.values())
        truth = np.array([row["mos"] for row in images])
        datasets = np.array([row.get("dataset", config.data.source) for row in images])
        photographs = np.array([row["photograph"] for row in images])
        scores, answers = {}, {}
        for name in models:
            scores[name] = {
                dataset: iqa.evaluate(
                    truth[of_dataset],
                    np.array(predictions[name]["scores"])[of_dataset],
                    rank_on=np.array(predictions[name]["rank_keys"])[of_dataset],
                    cluster=photographs[of_dataset],
                    seed=config.seed,
                    confidence=config.evaluate.confidence,
                )
                for dataset in dict.fromkeys(datasets.tolist())
                for of_dataset in [datasets == dataset]
            }
            answers[name] = llvisionqa.evaluate(
                questions,
                predictions[name]["replies"],
                rule="default",
                cluster=[question["photograph"] for question in questions],
                seed=config.seed,
                confidence=config.evaluate.confidence,
            )
        artifacts.write_json(run.evaluation / "iqa.json", scores)
        artifacts.write_json(run.evaluation / "llvisionqa.json", answers)
        table = _prediction_rows(images, questions, predictions)
        with artifacts.atomic(run.evaluation / "predictions.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(table), temporary)


@ray.remote(num_cpus=1, max_retries=2)
def _predict(run: RunFolder, model: str, config: Config) -> dict[str, Any]:
    """Scores in [1, 5] of the test images, what to rank them by, and replies to the questions."""
    import time

    from qsit_ray.models import load, score
    from qsit_ray.models.features import remember_features
    from qsit_ray.models.trainable import freeze
    from qsit_ray.prompts import PAPER

    began = time.monotonic()
    opened = open_catalog(run.catalog)
    checkpoint = load.load(model)
    checkpoint.model.to("cuda" if config.train.use_gpu else "cpu")
    if config.models.remember_features:
        freeze(checkpoint.model, vision=True)
        remember_features(checkpoint.model, run.features)
    size = config.evaluate.batch_size
    cache: dict[str, Any] | None = {} if config.models.remember_features else None
    paths = [row["image"] for row in opened.images(SPLIT)]
    questions = opened.questions(SPLIT)
    logits = score.level_logits(checkpoint, paths, opened.folder, batch_size=size, cache=cache)
    chosen = score.choose(checkpoint, questions, opened.folder, batch_size=size, cache=cache)
    return {
        "scores": PAPER.score(logits).tolist(),
        "rank_keys": PAPER.rank_key(logits).tolist(),
        "replies": [q["candidates"][c] for q, c in zip(questions, chosen, strict=True)],
        "seconds": time.monotonic() - began,
    }


def _prediction_rows(
    images: list[dict[str, Any]],
    questions: list[dict[str, Any]],
    predictions: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """One row a model and item: benchmark `iqa` has truth and score, `llvisionqa` the texts."""
    rows = []
    for model, predicted in predictions.items():
        for image, value in zip(images, predicted["scores"], strict=True):
            rows.append(
                {
                    "model": model,
                    "benchmark": "iqa",
                    "id": image["image"],
                    "photograph": image["photograph"],
                    "truth": image["mos"],
                    "score": value,
                    "question": None,
                    "correct_ans": None,
                    "reply": None,
                }
            )
        for number, (question, reply) in enumerate(
            zip(questions, predicted["replies"], strict=True)
        ):
            rows.append(
                {
                    "model": model,
                    "benchmark": "llvisionqa",
                    "id": str(number),
                    "photograph": question["photograph"],
                    "truth": None,
                    "score": None,
                    "question": question["question"],
                    "correct_ans": question["correct_ans"],
                    "reply": reply,
                }
            )
    return rows
