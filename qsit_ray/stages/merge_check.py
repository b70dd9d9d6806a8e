"""rim: `qsit search merge-check`: experts and anchors are trained, and merges are compared."""

from __future__ import annotations

from pathlib import Path

import ray

from qsit_ray import artifacts, placement
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.data.catalog import read_sizes
from qsit_ray.errors import InputError
from qsit_ray.losses import Losses
from qsit_ray.search import merging
from qsit_ray.search.merging import Anchor, MergeCheck, Parts
from qsit_ray.search.records import model_folder
from qsit_ray.search.trials import Task
from qsit_ray.search.tuner import run_search
from qsit_ray.session import labels_of
from qsit_ray.stages.search import open_folder, proxy_inputs
from qsit_ray.terminal import Terminal

FOLDER = "merge_check"
RESULT = "merge_check.json"


def merge_check(run: RunFolder, config: Config, terminal: Terminal) -> MergeCheck:
    """Train a component of each pool and the anchors with the run's own settings, one seed each,
    merge the components, and write `search/merge_check.json`. What was trained before is kept.

    Raises InputError for a rehearsal, two pools or a pool without rows, and RuntimeError when a
    training failed.
    """
    if config.search.rehearsal is not None:
        raise InputError("search.rehearsal: nothing is trained that could be merged")
    if config.search.storage is not None:
        raise InputError("search.storage: merge-check keeps models in the run folder; leave it out")
    if len(config.pools) < 3:
        raise InputError("data.pools: two pools have one anchor; merge-check needs three pools")
    sizes = read_sizes(run.catalog)
    for domain, count in sizes.items():
        if not count:
            raise InputError(f"{run.catalog}: {domain} has no rows, so that it has no component")
    rows = merging.rows_of(sizes, config.search.max_repeats)
    seed = config.search.proxy_seeds[0]
    pools, anchors = config.pools, merging.anchors(config.pools)
    every = [*(merging.component(pool, pools) for pool in pools), *anchors]
    # The points of these trainings are numbers, not ratios.
    mixtures = {
        float(number): merging.mixture(parts, pools, rows) for number, parts in enumerate(every, 1)
    }
    inputs = {**proxy_inputs(run, config), "rows": rows, "seed_of_components": seed}
    folder = open_folder(run.path / "search" / FOLDER, inputs)
    objective = "both" if config.has_benchmarks else "losses"
    task = Task(run, config, folder, mixtures.__getitem__, objective, keep_models=True)
    with terminal.bar("Components and anchors") as bar:
        done = run_search(task, [(number, seed) for number in mixtures], bar)
    if failed := [row for row in done if row.status == "failed"]:
        raise RuntimeError(f"{len(failed)} of {len(done)} failed; the first: {failed[0].reason}")
    models = [model_folder(folder, *row.point) for row in done[: len(pools)]]
    asked = placement.trial(config.search)
    measure = ray.remote(_merged).options(
        num_cpus=asked.resources["CPU"],
        num_gpus=asked.resources.get("GPU", 0),
        label_selector=labels_of(asked) or None,
    )
    terminal.say("Evaluating the merged components ...")
    merged, moved = ray.get(measure.remote(task, models, anchors))
    trained = done[len(pools) :]
    found = MergeCheck(
        displacement=dict(zip(pools, moved, strict=True)),
        anchors=tuple(
            Anchor(parts, merging.logs(row.losses or {}), merging.logs(losses))
            for parts, row, losses in zip(anchors, trained, merged, strict=True)
        ),
    )
    artifacts.write_json(run.path / "search" / RESULT, found.to_json())
    return found


def _merged(
    task: Task, models: list[Path], anchors: list[Parts]
) -> tuple[list[Losses], list[float]]:
    """Validation losses of each merge, and the displacement of each component."""
    import torch

    from qsit_ray.models import load
    from qsit_ray.models.loss import evaluate_loss
    from qsit_ray.models.merge import displacement, merged
    from qsit_ray.search.training import Bench

    bench = Bench(task)
    base = {name: weights.float().cpu() for name, weights in bench.base.items()}
    parts = []
    for folder in models:
        weights = load.load(folder, torch.float32).model.state_dict()
        parts.append({name: weights[name] for name in base})
    losses: list[Losses] = []
    for shares in anchors:
        bench.model.load_state_dict(merged(parts, shares), strict=False)
        with bench.autocast():
            losses.append(
                {pool: evaluate_loss(bench.model, bench.validation(pool)) for pool in bench.tasks}
            )
    return losses, [displacement(part, base) for part in parts]
