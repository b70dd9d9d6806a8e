"""pure: work on the next step's items while the caller uses this step's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    steps: Iterable[Sequence[Item]], work: Callable[[Item], Result], threads: int
) -> Iterator[list[Result]]:
    """The results of `work` on each step's items, in their order.

    `threads` threads work on one step beyond the one that the caller has, at most; with 0 the
    caller's own thread works on each step when it is asked for. An exception of `work` is raised
    where its step is. Closing the iterator drops what was not begun.

    Threads rather than processes: decoding and resizing a picture release Python's lock, and the
    results need no transfer.
    """
    if threads < 1:
        for items in steps:
            yield [work(item) for item in items]
        return
    pool = ThreadPoolExecutor(threads)
    try:
        before: list[Future[Result]] | None = None
        for items in steps:
            begun = [pool.submit(work, item) for item in items]
            if before is not None:
                yield [future.result() for future in before]
            before = begun
        if before is not None:
            yield [future.result() for future in before]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
