"""A function over independent pieces of work, in several processes; results in the order of the pieces."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def count_workers(asked: int | None, pieces: int) -> int:
    """Processes to use: as many as asked for (default: one per core this process may use), no more than pieces."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(asked or cores, pieces))


def map_ordered(function: Callable[[Piece], Result], pieces: Sequence[Piece], workers: int) -> Iterator[Result]:
    """``map(function, pieces)``, in ``workers`` processes; with one worker in this process.

    The function and its pieces must be picklable. The first error ends the rest and is raised here. Processes are
    spawned, not forked (a fork of a process with threads can hang), and end when this process does, even if killed.
    """
    if workers <= 1 or len(pieces) <= 1:
        yield from map(function, pieces)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield from pool.map(function, pieces)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
