"""A finished run with planted numbers, and its page as tests read it."""

from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from qsit_ray import artifacts
from qsit_ray.config import presets
from qsit_ray.mixture import Mixture
from qsit_ray.search.trials import TrialOutcome, write_trials
from qsit_ray.surrogate.comparison import compare_curves
from qsit_ray.surrogate.observations import observed

CONFIG = presets.demo()
SIZES = {"scoring": 600, "interpreting": 2400, "general": 1600}
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balanced(HTMLParser):
    """Collects text and attribute values; fails where tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read(page):
    return " ".join(" ".join(Balanced(page).text).replace("\xa0", " ").split())


def search(run, axis, lost=None):
    space = CONFIG.space(axis)
    rows = [
        TrialOutcome(ratio, seed, Mixture.of(1, 1, 1), status="failed", reason="worker <died>")
        if (ratio, seed) == lost
        else TrialOutcome(
            *(ratio, seed, Mixture.of(1, 1, 1)),
            score=0.5 - 0.01 * (place - 4) ** 2 + 0.004 * seed,
            accuracy=0.3 + 0.02 * place,
            srcc=0.4 - 0.01 * (place - 3) ** 2,
            device_seconds=2.0,
        )
        for place, ratio in enumerate(space.ratios)
        for seed in space.seeds
    ]
    write_trials(run.trials(axis), rows)
    return rows


def fit(run, axis, table, use="polynomial"):
    seen = observed([row.ratio for row in table], [row.score for row in table])
    found = compare_curves(seen, use=use, coordinate="log")
    artifacts.write_json(run.fit(axis), found.to_json())
    return found


def epoch(number, sizes, ratio, verdict, lost=0):
    total = sum(sizes)
    return {
        "epoch": number,
        "sizes": dict(zip(SIZES, sizes, strict=True)),
        "loss_scoring": ratio * 1.5,
        "loss_interpreting": 1.5,
        "loss_ratio": ratio,
        "reference_loss_ratio": 0.2147,
        "verdict": verdict,
        "next_sizes": None,
        "srcc": 0.5,
        "accuracy": None,
        "plan_sha256": "",
        "planned": 2**64 - 1,
        "consumed": 2**64 - 1 - lost,
        "rows_planned": total,
        "rows_trained": total - lost,
        "rows_skipped": 0,
        "answers_cut": 0,
        "timing": {},
    }


def fill(run):
    """A finished run with planted numbers; returns the fit of the first axis."""
    made_with = "made_with:\n  versions: {ray: 2.60.0}\n  git: abc1234\n"
    artifacts.write_text(run.config, made_with)
    first = fit(run, "interpreting_general", search(run, "interpreting_general"))
    rest = search(run, "interpreting_scoring", lost=(10.0, 2))
    fit(run, "interpreting_scoring", rest, use="recommended")
    rows = {"scoring": 600, "interpreting": 1503, "general": 621}
    mixture = {"scoring": 1.0, "interpreting": 2.5049, "general": 1.0351, "rows": rows}
    mixture["loss_mask"] = "answer"
    artifacts.write_json(run.mixture, {**mixture, "reference_loss_ratio": 0.2147})
    epochs = [
        epoch(0, (600, 1503, 621), 0.1831, "grow_interpreting"),
        epoch(1, (600, 1804, 745), 0.2313, "grow_scoring"),
    ]
    artifacts.write_jsonl(run.epochs, epochs)
    others = ("plcc_logistic", "krcc", "rmse", "rmse_logistic", "average")
    scores = {"rows": 300, "srcc": 0.6123, "plcc": 0.6344, **dict.fromkeys(others)}
    scores |= {"confidence": 0.95, "reasons": {}}
    scores["intervals"] = {"srcc": [0.5011, 0.7022], "plcc": None}
    undefined = {**scores, "srcc": None, "plcc": None, "intervals": {"srcc": None}}
    undefined["reasons"] = {"srcc": "every prediction is equal", "plcc": "the same <again>"}
    artifacts.write_json(
        run.evaluation / "iqa.json",
        {"proxy": {"demo & co": undefined}, "primary": {"demo & co": scores}},
    )
    answers = {
        "accuracy": 0.5512,
        "interval": [0.4933, 0.6044],
        "confidence": 0.95,
        "random_guess": 0.3811,
        "by_type": {"yes-or-no": 0.6567, "what": 0.5123, "how": None},
        "by_concern": {"distortion": 0.5346},
        "missing": 4,
        "unparsable": 7,
        "rows": 420,
        "missing_rows": [],
        "unparsable_rows": [],
        "rule": "default",
    }
    artifacts.write_json(
        run.evaluation / "llvisionqa.json",
        {"primary": answers, "primary_untrained": {**answers, "accuracy": 0.4404}},
    )
    costs = {
        "data": {"inputs": "", "wall_seconds": 41.25, "device_seconds": 41.25},
        "train": {"inputs": "", "wall_seconds": 104.5, "device_seconds": 201.75},
    }
    artifacts.write_json(run.stages, costs)
    return first


DATASET = "demo & co"
IMAGES = 24


def predict(run, models=("primary", "primary_untrained", "proxy"), shares=True):
    """Test images and questions with predictions: the primary's scores follow the labels, the
    untrained one's do not, and the proxy's are between. Image 3 is missing from the disk."""
    rng = np.random.default_rng(0)
    truth = np.linspace(10, 90, IMAGES)
    folder = run.catalog / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(IMAGES):
        if number != 3:
            pixels = np.full((24, 32, 3), 10 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    questions = [
        {
            "type": number % 3, "concern": number % 4, "question": f"Is it <{number}>?",
            "img_path": f"images/{number}.png", "candidates": ["yes & no", "no"],
            "correct_ans": "no", "photograph": str(number // 2),
        }
        for number in range(12)
    ]  # fmt: skip
    artifacts.write_json(run.catalog / "benchmarks" / "test" / "llvisionqa.json", questions)
    rows = []
    for model in models:
        noise = {"primary": 0.05, "primary_untrained": 5.0}.get(model, 0.5)
        for number, mos in enumerate(truth.tolist()):
            score = float(np.clip(1 + mos / 25 + noise * rng.normal(), 1, 5))
            rows.append(
                {
                    "model": model, "benchmark": "iqa", "id": f"images/{number}.png",
                    "dataset": DATASET, "photograph": str(number // 2), "truth": mos,
                    "score": score, "std": 0.5 + 0.01 * number, "rank_key": score,
                    "level_shares": [0.1, 0.15, 0.5, 0.2, 0.05],
                }
            )  # fmt: skip
        right = {"primary": 9, "primary_untrained": 3}.get(model, 6)
        rows += [
            {
                "model": model, "benchmark": "llvisionqa", "id": str(number),
                "photograph": asked["photograph"], "question": asked["question"],
                "correct_ans": "no", "reply": "no" if number < right else "yes & no",
                "candidate_shares": [0.25, 0.75] if number < right else [0.625, 0.375],
            }
            for number, asked in enumerate(questions)
        ]  # fmt: skip
    names = dict.fromkeys(name for row in rows for name in row)
    if not shares:
        names = [name for name in names if not name.endswith("_shares")]
    columns = {name: [row.get(name) for row in rows] for name in names}
    run.evaluation.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), run.evaluation / "predictions.parquet")


def step(epoch, number, loss):
    return {
        "time": "2026-11-27T15:45:12+00:00", "epoch": epoch, "step": number, "loss": loss,
        "loss_scoring": loss, "loss_interpreting": 2 * loss, "loss_general": None,
        "gradient_norm": 1.0, "rate": 0.001, "rows": 8, "tokens": 800, "seconds": 2.0,
        "stall_seconds": 0.5, "mfu": None, "peak_memory_gib": None, "ranks": 2,
    }  # fmt: skip


def catalog(run):
    """A catalog's counts, hashes and refused records."""
    manifest = {
        "rows": SIZES, "validation": 32, "images": 24,
        "benchmarks": {"test": {"images": 24, "questions": 12}},
        "sha256": {"benchmarks/test/iqa.parquet": "a", "benchmarks/test/llvisionqa.json": "b"},
    }  # fmt: skip
    artifacts.write_json(run.catalog / "manifest.json", manifest)
    rows = {"domain": ["scoring"] * 3 + ["general"], "dataset": ["koniq", "koniq", "<spaq>", "x"]}
    pq.write_table(pa.table(rows), run.catalog / "rows.parquet")
    refused = [
        {"file": "d2.json", "domain": "interpreting", "record": n, "reason": f"no image: <{n}>"}
        for n in range(7)
    ]
    artifacts.write_jsonl(run.catalog / "rejects.jsonl", refused)
