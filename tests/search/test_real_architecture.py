"""One trial of the real 0.5B architecture through Tune: the code path of the demo's search."""

from pathlib import Path

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from qsit_ray import presets
from qsit_ray.config import override
from qsit_ray.data import catalog
from qsit_ray.data.demo import DemoSizes, build
from qsit_ray.mixture import Mixture
from qsit_ray.models import load
from qsit_ray.models.architectures import architecture
from qsit_ray.models.pretrain import make_tokenizer
from qsit_ray.session import session

SIZES = dict.fromkeys(DemoSizes.__dataclass_fields__, 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The 0.5B with random weights in bf16, and a tokenizer whose image token it knows."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = make_tokenizer([], 0)
    config = architecture("0.5b")
    config.image_token_index = tokenizer.convert_tokens_to_ids("<image>")
    config.video_token_index = tokenizer.convert_tokens_to_ids("<video>")
    images = LlavaOnevisionImageProcessorPil(image_grid_pinpoints=[[384, 384]])
    config.image_grid_pinpoints = [[384, 384]]
    torch.manual_seed(0)
    with torch.device("cpu"):
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = LlavaOnevisionForConditionalGeneration(config)
        finally:
            torch.set_default_dtype(torch.float32)
    load.save(model, load.make_processor(images, tokenizer, config), folder)
    return str(folder)


@pytest.mark.slow
def test_a_trial_of_the_real_05b_runs_through_tune(base, tmp_path):
    from qsit_ray.search.trial import Task
    from qsit_ray.search.tuner import run_trials

    config = override(
        presets.paper(),
        [
            "search.training.batch_size=2",
            "search.micro_batch=1",
            "search.max_steps=1",
            "search.evaluate_every=1",
            "search.gpus_per_trial=0",
            "search.max_failures=0",
            "models.freeze_vision=true",
            "models.remember_features=true",
            "train.zero_stage=2",
            "evaluate.batch_size=1",
        ],
    )
    folder = tmp_path / "catalog"
    folder.mkdir()
    made = build(folder, DemoSizes(**SIZES), 0, lambda *_: None)
    catalog.write(folder, made.train, made.validation, made.iqa, made.questions)
    task = Task(
        config=config,
        catalog=folder,
        features=Path(tmp_path / "features"),
        base=base,
        folder=tmp_path / "search",
        mixture_at=lambda ratio: Mixture(1, 1, 1),
        objective="interpreting",
    )

    class Bar:
        def update(self, done, total, note=""):
            pass

    with session(2):
        outcomes, reasons = run_trials(task, [(1.0, 0)], Bar())
    assert reasons == {}
    outcome = outcomes[(1.0, 0)]
    assert outcome["steps"] == 1
    # Random weights know nothing: every token of the vocabulary is about as likely.
    assert outcome["loss_interpreting"] == pytest.approx(torch.tensor(152_000.0).log(), rel=0.15)
