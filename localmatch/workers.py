"""Independent pieces of work in several processes, results in order."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, TypeVar

import cv2
import torch

from localmatch.errors import WorkerError
from localmatch.kernels.library import thread_count

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Pieces of work that are handed out for each process, so that none waits until results are taken in order."""

USUAL = 4
"""Workers at most, unless more are asked for: one that audits takes 1.3 GB of memory."""


def usual_workers() -> int:
    """One worker a core that this process may use, up to `USUAL`."""
    return min(thread_count(), USUAL)


def in_order(
    work: Callable[[Shared, Item], Result],
    items: Iterable[Item],
    here: Shared,
    elsewhere: Callable[[], Shared],
    workers: int,
) -> Iterator[Result]:
    """What `work(here, item)` gives for each item, in their order.

    With several workers `elsewhere()` takes the place of `here`, once in each process; the processes share the cores.
    They are started anew ("spawn"): a script that asks for them needs `if __name__ == "__main__":`.

    Args:
        work: A function that can be pickled, as its results and the items can, where there are several workers.
        items: Read a few ahead.
        here: What the work is done with in this process.
        elsewhere: Makes the same in another process.
        workers: Processes; with 1, or for one item, the work is done here.

    Raises:
        ValueError: There are no workers.
        WorkerError: A process was killed. What came before it has been given.
    """
    if workers < 1:
        raise ValueError(f"expected 1 or more workers, got {workers}")
    items = iter(items)
    first = list(islice(items, 2))
    items = chain(first, items)
    if workers == 1 or len(first) < 2:
        yield from (work(here, item) for item in items)
        return
    begin = elsewhere, max(1, thread_count() // workers)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, begin)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(_do, work, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "A worker process was ended before its work was done; did it run out of memory? "
            "Run the same again to go on, with fewer workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_shared: Any = None
"""What the work is done with, in a process of a pool."""


def _begin(elsewhere: Callable[[], Any], threads: int) -> None:
    """Make a process ready for work."""
    global _shared
    # Ctrl-C reaches all processes: the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", module="PIL")
    os.environ["LOCALMATCH_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _shared = elsewhere()


def _end_with_parent() -> None:
    """A killed parent says nothing: end when it is gone."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(work: Callable[[Any, Item], Result], item: Item) -> Result:
    return work(_shared, item)
