"""rim: work on many items by a pool of actors that Ray Data keeps: as many as the cluster has room
for, each with what it has loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from qsit_ray.placement import Request
from qsit_ray.session import labels_of

Item = dict[str, Any]
RETRIES = 4
"""Of an item whose actor died; Ray Data would repeat it for ever."""


def on_actors(
    worker: Callable[..., Callable[[Item], Item]],
    given: Mapping[str, Any],
    items: Sequence[Item],
    request: Request,
    most: int,
) -> Iterator[Item]:
    """The result of each item, in the order in which they are known.

    `worker(**given)` is made once in each actor, and called with one item at a time. An actor asks
    Ray for what `request` says; there are from one to `most` of them. One that dies, alone or with
    its node, is replaced, and its item is done again, at most `RETRIES` times: an item may be what
    kills them.
    """
    import ray

    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(items)))
    ray.data.DataContext.get_current().execution_options.preserve_order = False
    done = ray.data.from_items(list(items), override_num_blocks=len(items)).map(
        worker,
        fn_constructor_kwargs=dict(given),
        compute=pool,
        max_task_retries=RETRIES,
        **options(request),
    )
    yield from done.iter_rows()


def options(request: Request) -> dict[str, Any]:
    """What one actor asks Ray for."""
    return {
        "num_cpus": request.resources.get("CPU", 0.0),
        "num_gpus": request.resources.get("GPU", 0.0),
        "label_selector": labels_of(request),
    }
