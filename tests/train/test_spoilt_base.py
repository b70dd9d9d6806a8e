"""A base checkpoint that is not sound is refused at every ZeRO stage, by every rank alike."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import wide_model
from safetensors.torch import load_file, save_file

LOAD = """
import json, os, sys, torch, torch.distributed as dist
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.errors import InputError
from qsit_ray.train.deepspeed_config import deepspeed_config
from qsit_ray.train.engine import load_base
stage, work, *kinds = sys.argv[1:]
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method=f"file://{work}/store", rank=rank, world_size=2)
import deepspeed
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
deepspeed.init_distributed(dist_init_required=False)
settings = ["models.remember_features=false", f"train.zero_stage={stage}"]
train = override(presets.demo(), settings).train
outcomes = {}
for kind in kinds:
    try:
        settings = deepspeed_config(train)
        loaded = load_base(f"{work}/{kind}", torch.float32, "sdpa", settings).model
        parts = {n: getattr(w, "ds_tensor", w).numel() for n, w in loaded.named_parameters()}
        outcomes[kind] = str(parts["lm_head.weight"])
    except InputError as error:
        outcomes[kind] = str(error)
with open(f"{work}/{rank}.json", "w") as file:
    json.dump(outcomes, file)
dist.destroy_process_group()
os._exit(0)  # an interpreter that ends is sometimes aborted by threads of gloo
"""
ENVIRONMENT = {"WORLD_SIZE": "2", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
HEAD = "language_model.lm_head.weight"


def one_number(weights):
    """In the part of the head that only rank 1 holds."""
    weights[HEAD][-1, -1] = torch.nan
    return weights


SPOILT = {
    "infinite": (one_number, "not finite: 1, such as lm_head.weight"),
    "shape": (lambda w: w | {HEAD: w[HEAD][:-1].clone()}, "of another shape: 1"),
    "more": (lambda w: w | {"model.extra": torch.ones(1)}, "not the model's: 1"),
    "missing": (lambda w: {n: t for n, t in w.items() if n != HEAD}, "missing: 1"),
}


@pytest.mark.parametrize("stage", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_every_rank_refuses_a_spoilt_base_and_no_other(tmp_path, stage):
    sound = wide_model.write(tmp_path / "sound")
    weights = tmp_path / "sound" / "model.safetensors"
    for kind, (change, _) in SPOILT.items():
        shutil.copytree(sound, tmp_path / kind)
        changed = change(load_file(weights))
        save_file(changed, tmp_path / kind / weights.name, {"format": "pt"})
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, str(stage), str(tmp_path), "sound", *SPOILT],
            env={**os.environ, **ENVIRONMENT, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [rank.communicate()[0] for rank in ranks]
    for rank, text in enumerate(printed):
        assert ranks[rank].returncode == 0, text[-3000:]
        outcomes = json.loads((tmp_path / f"{rank}.json").read_text())
        held = 4096 * 128 // (2 if stage == 3 else 1)  # of the head, whose halves the ranks share
        assert outcomes.pop("sound") == str(held)
        for kind, outcome in outcomes.items():
            assert outcome.startswith(f"{tmp_path / kind}: "), outcome
            assert SPOILT[kind][1] in outcome
