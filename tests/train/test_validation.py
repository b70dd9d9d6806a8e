"""The same measures within any tokens and on any number of ranks; no image twice."""

import numpy as np
import pytest
import torch

from qsit_ray.config.prompts import Prompts
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.encode import collate
from qsit_ray.evaluation import correlation
from qsit_ray.mixture import DOMAINS
from qsit_ray.models import load
from qsit_ray.models.batch import Batches
from qsit_ray.models.choice import answer
from qsit_ray.models.loss import evaluate_loss, tensors
from qsit_ray.models.score import level_logits
from qsit_ray.prompts import PAPER
from qsit_ray.train import validation
from qsit_ray.train.engine import Rows
from qsit_ray.train.validation import Validation


@pytest.fixture(scope="module")
def checkpoint(job):
    return load.load(job.base)


class Counted(Rows):
    """Notes the rows and tokens of each forward."""

    def __init__(self, model):
        super().__init__(model)
        self.seen = []

    def forward(self, batch, *read):
        self.seen.append(tuple(batch["input_ids"].shape))
        return super().forward(batch, *read)


@pytest.fixture
def measure(job, checkpoint, monkeypatch):
    """Every rank's measures, and the shapes of its forwards; ranks meet as threads would."""

    def run(tokens, ranks=1, most=None, profile=PAPER):
        values = [[] for _ in range(ranks)]
        found = []
        for collect in (True, False):  # first what each rank sends, then with what all have sent
            found = []
            for rank in range(ranks):
                rows = Batches(job.run.catalog, checkpoint.processor, 4096)
                counted = Counted(checkpoint.model)
                sent = iter(range(100))

                def gather(value, rank=rank, sent=sent, collect=collect):
                    if collect:
                        values[rank].append(value)
                        return [value]
                    place = next(sent)
                    return [each[place] for each in values]

                monkeypatch.setattr(validation, "gather", gather)
                validated = Validation(
                    rows, DOMAINS[:2], rank, ranks, tokens, threads=rank, profile=profile
                )
                measured = validated.measure(counted, torch.device("cpu"), most)
                found.append((measured, counted.seen))
        return found

    return run


def test_measures_are_those_of_one_row_at_a_time(job, checkpoint, measure):
    rows = Batches(job.run.catalog, checkpoint.processor, 4096)
    catalog = open_catalog(job.run.catalog)
    images, questions = catalog.images("validation"), catalog.questions("validation")
    ((measured, _),) = measure(1)
    for domain, loss in (
        ("scoring", measured.losses["scoring"]),
        ("interpreting", measured.losses["interpreting"]),
    ):
        single = [
            tensors(collate([rows.encoder.encode(row)], rows.pad_token))
            for row in catalog.validation(domain)
        ]
        assert loss == pytest.approx(evaluate_loss(checkpoint.model, single), rel=1e-5)
    logits = level_logits(checkpoint, [row["image"] for row in images], catalog.folder)
    wanted = correlation.srcc([row["mos"] for row in images], PAPER.rank_key(logits))
    assert measured.srcc == pytest.approx(wanted)
    answers = answer(checkpoint, questions, catalog.folder)
    right = [
        q["candidates"][int(p.argmax())] == q["correct_ans"]
        for q, p in zip(questions, answers, strict=True)
    ]
    assert measured.accuracy == np.mean(right)


def test_own_prompts_score_and_choose(job, checkpoint, measure):
    own = Prompts(
        question="<image>\nHow beautiful is it?",
        levels=("poor", "bad", "fair", "excellent", "good"),
        choice="<image>\n{options}\n{question}",
    ).profile
    catalog = open_catalog(job.run.catalog)
    images, questions = catalog.images("validation"), catalog.questions("validation")
    ((measured, seen),) = measure(1, profile=own)
    names, truth = [row["image"] for row in images], [row["mos"] for row in images]
    keys = own.rank_key(level_logits(checkpoint, names, catalog.folder, profile=own))
    assert measured.srcc == pytest.approx(correlation.srcc(truth, keys))
    assert [*keys] != pytest.approx(
        [*PAPER.rank_key(level_logits(checkpoint, names, catalog.folder))]
    )
    # No row of the catalog is worded so: each image has a forward of its own.
    assert sum(number for number, _ in seen) == 5 + 5 + 5 + 5
    mine = answer(checkpoint, questions, catalog.folder, profile=own)
    right = [
        q["candidates"][int(p.argmax())] == q["correct_ans"]
        for q, p in zip(questions, mine, strict=True)
    ]
    assert measured.accuracy == np.mean(right)


@pytest.mark.parametrize(("tokens", "ranks"), [(400, 1), (1024, 2), (1024, 3), (100_000, 5)])
def test_measures_depend_on_neither_tokens_nor_ranks(measure, tokens, ranks):
    ((alone, _),) = measure(1)
    of_ranks = measure(tokens, ranks)
    for measured, seen in of_ranks:
        assert measured == of_ranks[0][0]
        # ZeRO stage 3 would wait for ever otherwise.
        assert len(seen) == len(of_ranks[0][1])
        assert all(rows * length <= tokens or rows == 1 for rows, length in seen)
    assert measured.losses["scoring"] == pytest.approx(alone.losses["scoring"], rel=1e-5)
    assert measured.losses["interpreting"] == pytest.approx(alone.losses["interpreting"], rel=1e-5)
    assert (measured.srcc, measured.accuracy) == (alone.srcc, alone.accuracy)


def test_an_image_that_a_row_scores_needs_no_forward_of_its_own(measure):
    """Two of the five scoring rows have the paper's prompt; each is one of the five images."""
    ((_, seen),) = measure(1)
    rows, others, questions = 5 + 5, 3, 5
    assert sum(number for number, _ in seen) == rows + others + questions


def test_a_rehearsal_is_the_largest_batch_of_each_kind(measure):
    ((_, whole),) = measure(400)
    ((_, first),) = measure(400, most=1)
    assert len(first) == 4 < len(whole)
    assert max(n * length for n, length in first) == max(n * length for n, length in whole)
