"""rim: the evaluate stage: three models on the test benchmarks, in parts that a pool of actors
predicts and keeps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.section import meaning
from qsit_ray.data.catalog import BenchmarkImage, Question, open_catalog
from qsit_ray.data.images import Content
from qsit_ray.data.pack import place
from qsit_ray.errors import InputError
from qsit_ray.evaluation import iqa, llvisionqa
from qsit_ray.evaluation.intervals import Bootstrap
from qsit_ray.models.base import base_checkpoint, identity
from qsit_ray.placement import prediction
from qsit_ray.pool import on_actors
from qsit_ray.rating.results import Reject, Score
from qsit_ray.session import concurrency
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.rating.rater import Rater

SPLIT = "test"
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "benchmark", "id", "dataset", "photograph")),
        *((name, pa.float64()) for name in ("truth", "score", "std", "rank_key")),
        *((name, pa.string()) for name in ("question", "correct_ans", "reply")),
        *((name, pa.list_(pa.float64())) for name in ("level_shares", "candidate_shares")),
    ]
)
"""Of predictions.parquet: a row for each image, benchmark `iqa`, and for each question, benchmark
`llvisionqa`, of each model. Shares: probabilities of the levels, worst first, and of the question's
candidates, in their order."""
PART = 256
"""Rows of a part: what is kept at once, and what an actor that dies loses at most."""
SECONDS = b"seconds"
"""In the metadata of a part's schema: the device time that it took."""


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` of a benchmark, for one model."""

    model: str
    benchmark: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.benchmark}-{self.start:06}.parquet"


def models_of(run: RunFolder, config: Config, primary_only: bool = False) -> dict[str, str]:
    """The models to evaluate by name: the primary, untrained too, and the proxy. Needs no session.

    Raises InputError when a model is missing, or there are no benchmarks.
    """
    if not config.has_benchmarks:
        raise InputError("data.source: pools has no benchmarks to evaluate on")
    models = {"primary": str(run.model), "primary_untrained": base_checkpoint(config, "primary")}
    if config.has_proxies:
        models["proxy"] = str(run.proxy_model)
    if primary_only:
        models = {"primary": models["primary"]}
    for name, model in models.items():
        if name != "primary_untrained" and not Path(model).exists():
            raise InputError(f"{model}: the {name} model is missing; train first")
    return models


def evaluate_models(
    run: RunFolder, config: Config, terminal: Terminal, primary_only: bool = False
) -> None:
    """Evaluate the models of the run; write evaluation/.

    Intervals are bootstrapped over photographs: crops of one photograph are not independent.
    Raises InputError as `models_of`.
    """
    models = models_of(run, config, primary_only)
    inputs = {
        "evaluate": meaning(config.evaluate),
        "seed": config.seed,
        **config.prompts.inputs,
        "catalog": artifacts.file_sha256(run.catalog / "manifest.json"),
        "models": {name: identity(run, model, terminal.say) for name, model in models.items()},
    }
    if run.is_complete("evaluate", inputs):
        return
    catalog = open_catalog(run.catalog)
    images, questions = catalog.images(SPLIT), catalog.questions(SPLIT)
    parts = parts_of(list(models), len(images), len(questions))
    with run.stage("evaluate", inputs) as cost, terminal.bar("Evaluate") as bar:
        # A GPU predicts in bfloat16; parts of both would be no model's predictions. Parts from
        # before a column was added are made again.
        kept = _kept(run, {**inputs, "gpu": config.train.use_gpu, "columns": SCHEMA.names})
        missing = [asdict(part) for part in parts if not (kept / part.name).exists()]
        bar.update(len(parts) - len(missing), len(parts), "parts")
        if missing:
            given = {"run": run, "models": models, "config": config, "kept": kept}
            results = on_actors(Predictor, given, missing, prediction(config), at_once(config))
            for done, _ in enumerate(results, start=1 + len(parts) - len(missing)):
                bar.update(done, len(parts), "parts")
        tables = [pq.read_table(kept / part.name) for part in parts]
        cost.device_seconds = sum(float(table.schema.metadata[SECONDS]) for table in tables)
        rows = [each.replace_schema_metadata(None) for each in tables]
        table = pa.concat_tables([SCHEMA.empty_table(), *rows])
        with artifacts.atomic(run.evaluation / "predictions.parquet") as temporary:
            pq.write_table(table, temporary)
        predicted = {
            (name, benchmark): table.filter(
                (pc.field("model") == name) & (pc.field("benchmark") == benchmark)
            )
            for name in models
            for benchmark in ("iqa", "llvisionqa")
        }
        truth = np.array([row["mos"] for row in images])
        datasets = np.array([row.get("dataset", config.data.source) for row in images])
        photographs = np.array([row["photograph"] for row in images])
        bootstrap = Bootstrap(config.seed, config.evaluate.confidence)
        scores = {
            name: {
                dataset: iqa.score_predictions(
                    truth[of_dataset],
                    predicted[name, "iqa"]["score"].to_numpy()[of_dataset],
                    rank_on=predicted[name, "iqa"]["rank_key"].to_numpy()[of_dataset],
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
                predicted[name, "llvisionqa"]["reply"].to_pylist(),
                rule="default",
                cluster=[question["photograph"] for question in questions],
                bootstrap=bootstrap,
            ).to_json()
            for name in models
        }
        artifacts.write_json(run.evaluation / "iqa.json", scores)
        artifacts.write_json(run.evaluation / "llvisionqa.json", answers)
    artifacts.remove(kept)


def parts_of(models: Sequence[str], images: int, questions: int) -> list[Part]:
    """Every model's parts, images before questions."""
    return [
        Part(model, benchmark, start, min(start + PART, rows))
        for model in models
        for benchmark, rows in (("iqa", images), ("llvisionqa", questions))
        for start in range(0, rows, PART)
    ]


def at_once(config: Config) -> int:
    """Actors that predict at once: on a cluster no more than the primary had ranks, whose nodes are
    there already."""
    local = concurrency(config.evaluate.cpus)
    return config.train.workers if local is None else local


def _kept(run: RunFolder, inputs: Mapping[str, object]) -> Path:
    """The folder of the parts that are done for these inputs; others are removed."""
    folder = run.evaluation / "parts"
    known = folder / "inputs.json"
    if not known.exists() or artifacts.read_json(known) != artifacts.digest(inputs):
        artifacts.remove(folder)
        folder.mkdir(parents=True)
        artifacts.write_json(known, artifacts.digest(inputs))
    return folder


class Predictor:
    """An actor that predicts one part after another and writes each. It holds one model at a
    time, and parts come model by model."""

    def __init__(self, run: RunFolder, models: Mapping[str, str], config: Config, kept: Path):
        self._run, self._models, self._config, self._kept = run, models, config, kept
        self._catalog = open_catalog(run.catalog)
        self._images = self._catalog.images(SPLIT)
        self._questions = self._catalog.questions(SPLIT)
        self._rater: tuple[str, Rater] | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        part = Part(**item)
        began = time.monotonic()
        rater = self._rater_of(part.model)
        rows = slice(part.start, part.stop)
        if part.benchmark == "iqa":
            table = self._scored(part.model, rater, self._images[rows])
        else:
            table = self._answered(part, rater, self._questions[rows])
        seconds = {SECONDS: repr(time.monotonic() - began)}
        with artifacts.atomic(self._kept / part.name) as temporary:
            pq.write_table(table.replace_schema_metadata(seconds), temporary)
        return item

    def _rater_of(self, name: str) -> Rater:
        import torch

        from qsit_ray.models import load
        from qsit_ray.models.features import remember_features
        from qsit_ray.models.trainable import freeze
        from qsit_ray.rating.rater import Rater

        if self._rater is not None and self._rater[0] == name:
            return self._rater[1]
        self._rater = None  # before the next is loaded: two may not fit
        config = self._config
        gpu = config.train.use_gpu
        dtype = torch.bfloat16 if gpu else None
        checkpoint = load.load(self._models[name], dtype, load.attention(gpu, torch.bfloat16))
        checkpoint.model.to("cuda" if gpu else "cpu")
        if config.models.remember_features:
            freeze(checkpoint.model, vision=True)
            remember_features(checkpoint.model, self._run.features)
        tokens, threads = config.evaluate.batch_tokens, config.evaluate.cpus - 1
        rater = Rater(checkpoint, config.prompts.profile, tokens, threads)
        self._rater = name, rater
        return rater

    def _scored(self, model: str, rater: Rater, images: Sequence[BenchmarkImage]) -> pa.Table:
        found = list(rater.scores(_opened(self._catalog.folder, row["image"]) for row in images))
        for each in found:
            if isinstance(each, Reject):
                raise InputError(each.reason)
        rows = [
            {
                "model": model,
                "benchmark": "iqa",
                "id": image["image"],
                "dataset": image.get("dataset"),
                "photograph": image["photograph"],
                "truth": image["mos"],
                "score": each.score,
                "std": each.std,
                "rank_key": each.rank_key,
                "level_shares": list(each.probabilities.values()),
            }
            for image, each in zip(images, found, strict=True)
            if isinstance(each, Score)
        ]
        return pa.Table.from_pylist(rows, SCHEMA)

    def _answered(self, part: Part, rater: Rater, questions: Sequence[Question]) -> pa.Table:
        rows = [
            {
                "model": part.model,
                "benchmark": "llvisionqa",
                "id": str(number),
                "photograph": question["photograph"],
                "question": question["question"],
                "correct_ans": question["correct_ans"],
                "reply": choice.answer,
                "candidate_shares": [choice.probabilities[c] for c in question["candidates"]],
            }
            for number, question, choice in zip(
                range(part.start, part.stop),
                questions,
                rater.answers(questions, self._catalog.folder),
                strict=True,
            )
        ]
        return pa.Table.from_pylist(rows, SCHEMA)


def _opened(catalog: Path, name: str) -> Path | Content:
    """The file of a catalog's image; its content where it lies in a pack."""
    file = place(catalog, name)
    return file if isinstance(file, Path) else Content(file.read_bytes(), name)
