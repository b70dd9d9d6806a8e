"""One rank of a training without Ray: global batches of a plan, through the Engine."""

import os
import pickle
import resource
import sys
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from qsit_ray import artifacts
from qsit_ray.data.catalog import open_catalog
from qsit_ray.losses import flat
from qsit_ray.mixture import Mixture, plan_epoch
from qsit_ray.models import load
from qsit_ray.models.batch import Batches, pack
from qsit_ray.train.bad_loss import BadLoss
from qsit_ray.train.encoding import layout
from qsit_ray.train.engine import Engine
from qsit_ray.train.ranks import gather
from qsit_ray.train.rehearsal import rehearse
from qsit_ray.train.state import TrainState

folder = Path(sys.argv[1])
asked = pickle.loads((folder / "asked.pickle").read_bytes())
job = asked["job"]
rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
backend = "gloo"
if job.config.train.use_gpu:
    backend = "nccl"
    torch.cuda.set_device(rank)
dist.init_process_group(
    backend, init_method=f"file://{folder}/store", rank=rank, world_size=world_size
)
engine = Engine(job, rank, world_size)
whole = sum(parameter.numel() for parameter in engine.checkpoint.model.parameters())
if asked["resume"]:
    engine.load(asked["resume"], TrainState.read(asked["resume"]).world_size)
if asked["rehearse"]:
    rehearse(engine, job)
catalog = open_catalog(job.run.catalog)
batch = job.config.train.training.batch_size
plan = plan_epoch(Mixture.of(48, 64, 48), catalog.sizes, 0, job.config.seed, batch)
rows = Batches(job.run.catalog, load.load_processor(job.base), job.config.models.max_length)
losses, by_domain, bad, early = [], [], None, None
for step in range(asked["first"], asked["last"]):
    own = [ranks[rank] for ranks in layout(job).micro_batches(plan, step, world_size)]
    try:
        packed = [pack(rows.of(micro.tolist())) for micro in own]
        domains = [catalog.domains(micro) for micro in own]
        taken = engine.step(packed, domains, (step + 1) / plan.steps)
        losses.append(taken.loss)
        by_domain.append(taken.losses)
        if asked["validate"] and step == asked["first"]:
            early = engine.validate()
    except BadLoss as error:
        suspected = [row for index in error.suspects for row in own[index].tolist()]
        bad = {"step": step, "rows": sorted(row for part in gather(suspected) for row in part)}
        break
if not asked["validate"]:
    measured = None
else:
    # After one step it has been measured.
    measured = early if asked["last"] - asked["first"] == 1 else engine.validate()
engine.save(folder / f"rank{rank}")
dist.barrier()
engine.export(folder / "model")
if rank == 0:
    results = {"losses": losses, "by_domain": by_domain, "bad": bad, "own_weights": whole}
    results["measured"] = flat(asdict(measured)) if measured else None
    results["early"] = flat(asdict(early)) if early else None
    results["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    artifacts.write_json(folder / "results.json", results)
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # an interpreter that ends is sometimes aborted by threads of gloo
