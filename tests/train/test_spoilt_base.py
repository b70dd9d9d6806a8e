"""A base checkpoint that is not sound is refused at every ZeRO stage, by every rank alike."""

import os
import subprocess
import sys

import pytest
import torch
import wide_model
from safetensors.torch import load_file, save_file

LOAD = """
import sys, torch, torch.distributed as dist
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.errors import InputError
from qsit_ray.train.deepspeed_config import deepspeed_config
from qsit_ray.train.engine import load_base
folder, stage, store = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{store}")
import deepspeed
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
deepspeed.init_distributed(dist_init_required=False)
train = override(presets.demo(), [f"train.zero_stage={stage}"]).train
try:
    loaded = load_base(folder, torch.float32, deepspeed_config(train, 2))
    parts = [getattr(w, "ds_tensor", w).numel() for w in loaded.model.parameters()]
    print(f"OUTCOME loaded {sum(parts)}", flush=True)
except InputError as error:
    print(f"OUTCOME {error}", flush=True)
"""

HEAD = "lm_head.weight"
ENVIRONMENT = {"WORLD_SIZE": "2", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}


def one_number(weights):
    """In the part of the head that only rank 1 holds."""
    weights[HEAD][-1, -1] = torch.nan
    return weights


SPOILT = {
    "sound": (lambda w: w, "loaded"),
    "not finite": (one_number, f"not finite: 1, such as {HEAD}"),
    "of another shape": (lambda w: w | {HEAD: w[HEAD][:-1].clone()}, "of another shape: 1"),
    "too many": (lambda w: w | {"model.extra": torch.ones(1)}, "not the model's: 1"),
    "missing": (lambda w: {n: t for n, t in w.items() if n != HEAD}, "missing: 1"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each of two ranks says when it loads a checkpoint spoilt in one way."""

    def load(kind, stage):
        work = tmp_path_factory.mktemp("spoilt")
        folder = wide_model.write(work / "base")
        change, _ = SPOILT[kind]
        file = work / "base" / "model.safetensors"
        save_file(change(load_file(file)), file, {"format": "pt"})
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", LOAD, folder, str(stage), str(work / "store")],
                env={**os.environ, **ENVIRONMENT, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        printed = [rank.communicate()[0] for rank in ranks]
        return [text.partition("OUTCOME ")[2].partition("\n")[0] or text for text in printed]

    return load


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("stage", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_every_rank_refuses_a_spoilt_base(outcomes, kind, stage):
    for outcome in outcomes(kind, stage):
        assert SPOILT[kind][1] in outcome
