"""Every micro-batch touches the vision tower; answers that were cut are counted."""

import pytest
import torch

from qsit_ray.data.catalog import open_catalog
from qsit_ray.mixture import PADDING
from qsit_ray.models import load
from qsit_ray.models.batch import Batches
from qsit_ray.models.loss import answer_loss, tensors


def of_domain(catalog, domain):
    return [n for n, name in enumerate(catalog.rows["domain"].to_pylist()) if name == domain]


@pytest.fixture(scope="module")
def rows(job):
    return Batches(job.run.catalog, load.load_processor(job.base), 512)


@pytest.mark.parametrize("kind", ["text only", "images", "mixed", "padding"])
def test_every_micro_batch_touches_the_vision_tower(job, rows, kind):
    """At ZeRO stage 3 ranks gather a layer's weights together. A rank whose micro-batch did not use
    the tower would leave the others waiting in it for ever. It can't occur: a row without an image
    has a blank one, which changes no answer's loss."""
    catalog = open_catalog(job.run.catalog)
    text, images = of_domain(catalog, "general"), of_domain(catalog, "scoring")
    chosen = {
        "text only": text[:2],
        "images": images[:2],
        "mixed": [text[0], images[0]],
        "padding": [PADDING, PADDING],
    }[kind]
    model = load.load(job.base).model
    seen = []
    model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    batch = tensors(rows.of(chosen))
    loss, _ = answer_loss(model, batch)
    loss.backward()
    assert seen == [1]
    weights = dict(model.model.vision_tower.named_parameters())
    used = {n: p.grad for n, p in weights.items() if p.grad is not None}
    assert used
    reaches = any(bool(torch.any(gradient != 0)) for gradient in used.values())
    assert reaches == (kind in ("images", "mixed"))


def test_answers_cut_at_the_length_limit_are_counted_each_time(job):
    catalog = open_catalog(job.run.catalog)
    processor = load.load_processor(job.base)
    whole = Batches(job.run.catalog, processor, 512)
    asked = of_domain(catalog, "interpreting")
    lengths = {row: len(whole.of([row])["input_ids"][0]) for row in asked}
    limit = max(lengths.values()) - 3
    longer = {row for row in asked if lengths[row] > limit}
    assert 0 < len(longer) < len(asked)
    for keep in (True, False):
        short = Batches(job.run.catalog, processor, limit, keep)
        for _ in range(2):
            assert sum((short.of([row]), short.cut([row]))[1] for row in asked) == len(longer)
    whole.of(asked)
    assert whole.cut(asked) == 0
