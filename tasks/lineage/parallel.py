"""A function over independent pieces of work, in several processes; results in the order of the pieces.

This is what a stage's `run.map` does unless `resources.runner` names something else.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing.connection import wait
from typing import Any, Protocol, TypeVar

from tasks.lineage.config import Resources

Piece = TypeVar("Piece")
Result = TypeVar("Result")

AHEAD = 2  # pieces a worker has waiting, so that memory is bounded and no worker waits for the next piece


class Mapper(Protocol):
    """Gives `function` of each piece, in the order of the pieces, wherever that is computed."""

    def __call__(self, function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]: ...


def in_this_process(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
    """One after the other."""
    return map(function, pieces)


def on_this_machine(resources: Resources) -> Mapper:
    """In processes of this machine."""

    def mapper(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        return map_ordered(function, pieces, count_workers(resources.workers))

    return mapper


def count_workers(asked: int | None) -> int:
    """Processes to use: as many as asked for (default: one per core this process may use)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, asked or cores)


def map_ordered(function: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int) -> Iterator[Result]:
    """``map(function, pieces)``, in at most ``workers`` processes; with one worker or one piece in this process.

    The function and its pieces must be picklable. Pieces are taken as they are needed. The first error ends the rest
    and is raised here. Processes are spawned, not forked (a fork of a process with threads can hang), and end when this
    process does, even if killed.
    """
    waiting = iter(pieces)
    first = list(islice(waiting, max(workers, 1)))
    if len(first) <= 1:
        yield from map(function, chain(first, waiting))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(len(first), mp_context=context, initializer=_end_with_parent)
    try:
        pieces = chain(first, waiting)
        yield from in_window(
            lambda piece: pool.submit(function, piece), pieces, len(first), leave=lambda future: future.cancel()
        )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_window(
    submit: Callable[[Piece], Any], pieces: Iterable[Piece], workers: int, leave: Callable[[Any], object]
) -> Iterator[Any]:
    """The results of the futures that `submit` gives, in order, never with more than AHEAD a worker under way.

    leave: what becomes of a future whose result nobody waits for any more.
    """
    waiting = iter(pieces)
    futures = deque(submit(piece) for piece in islice(waiting, AHEAD * workers))
    try:
        while futures:
            yield futures.popleft().result()
            futures.extend(submit(piece) for piece in islice(waiting, 1))
    finally:
        for future in futures:
            leave(future)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
