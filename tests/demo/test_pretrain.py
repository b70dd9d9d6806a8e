"""Pre-training resumes by stage, is reproducible, and leaves the mixture's tasks untaught."""

import numpy as np
import pytest
import torch

from qsit_ray.config.config import Pretraining
from qsit_ray.demo import photographs, pretrain, questions
from qsit_ray.levels import LEVELS
from qsit_ray.models import load

SHORT = Pretraining(tower_steps=2, alignment_steps=2, crops=70, alignment_crops=40)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    pretrain.pretrain(folder, SHORT, lambda *_: None, workers=1, threads=1)
    return folder


def weights(folder):
    return load.load(folder).model.state_dict()


def test_both_models_load_and_share_the_tower(cache):
    proxy, primary = weights(cache / "proxy"), weights(cache / "primary")
    shared = [k for k in proxy if "vision_tower" in k]
    assert shared and all(torch.equal(proxy[k], primary[k]) for k in shared)
    assert sorted(p.name for p in cache.iterdir()) == ["primary", "proxy", "tower"]


def test_a_killed_pretraining_keeps_its_finished_stages(cache, tmp_path):
    def stop_in_the_first_alignment(stage, done, total):
        if stage.startswith("aligning"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(tmp_path, SHORT, stop_in_the_first_alignment, workers=1, threads=1)
    assert (tmp_path / "tower").is_dir() and not (tmp_path / "proxy").exists()
    seen = []
    pretrain.pretrain(tmp_path, SHORT, lambda stage, *_: seen.append(stage), workers=1, threads=1)
    assert "vision tower" not in seen
    for name in ("proxy", "primary"):
        first, second = weights(cache / name), weights(tmp_path / name)
        assert all(torch.equal(first[k], second[k]) for k in first)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["primary", "proxy", "tower"]


def test_captions_use_neither_the_levels_nor_the_catalogs_words():
    rng = np.random.default_rng(0)
    samples = photographs.draw_samples(photographs.weights_of("train"), 200, rng, 0.35, 0.1)
    assert {photographs.PHOTOGRAPHS[s.photograph].split for s in samples} == {"train"}
    words = {w for s in samples for w in pretrain.caption(s, rng).replace(",", "").split()}
    assert not words & {*LEVELS, *questions.FAMILIES, *questions.STRENGTHS, "yes", "no"}
