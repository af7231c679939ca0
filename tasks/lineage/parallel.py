"""A function over independent pieces of work, in several processes; results in the order of the pieces.

This is what a stage's `run.map` does unless `resources.runner` names something else.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

from tasks.lineage.config import Resources
from tasks.lineage.crew import crew_of
from tasks.lineage.shared_work import SharedWork

Piece = TypeVar("Piece")
Result = TypeVar("Result")

WORTH_PROCESSES = 64 << 20  # bytes of text: threads are two thirds as fast, a process takes two seconds to start
AHEAD = 2  # pieces a worker has waiting, so that memory is bounded and no worker waits for the next piece


class Mapper(Protocol):
    """Gives `function` of each piece, in the order of the pieces, wherever that is computed."""

    def __call__(self, function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]: ...


def in_this_process(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
    """One after the other."""
    return map(function, pieces)


def in_threads(workers: int) -> Mapper:
    """In threads of this process: for functions that let go of the interpreter's lock, whose pieces and results are
    sooner made than sent."""

    def mapper(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        if workers == 1:
            yield from map(function, pieces)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from in_window(lambda piece: pool.submit(function, piece), pieces, workers, leave=_leave)

    return mapper


def suited(mapper: Mapper, resources: Resources, num_bytes: int) -> Mapper:
    """The mapper of a stage that works on so much text with functions that often let go of the interpreter's lock:
    threads in place of this machine's processes, where those would take longer to start than they save."""
    if resources.runner == "local" and num_bytes < WORTH_PROCESSES:
        return in_threads(count_workers(resources.workers))
    return mapper


def ahead(pieces: Iterable[Piece], workers: int) -> Iterator[Piece]:
    """The pieces, the next of which is made in a thread while one is worked on; with one worker as they are needed.

    For pieces that are made by code that lets go of the interpreter's lock, such as what reads Parquet.
    """
    if workers == 1:
        yield from pieces
        return
    iterator, end = iter(pieces), object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        following: Future[Any] = thread.submit(next, iterator, end)
        while (piece := following.result()) is not end:
            following = thread.submit(next, iterator, end)
            yield piece


class Behind:
    """Calls made in a thread, one after another in order, while the caller goes on; with one worker at once.

    No more than one waits, so memory is bounded. What a call raises is raised by the next one or by `wait`.
    """

    def __init__(self, workers: int) -> None:
        self._thread = ThreadPoolExecutor(1, "behind") if workers > 1 else None
        self._last: Future[Any] | None = None

    def __call__(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call the function with the arguments, once the call before has ended."""
        self.wait()
        if self._thread is None:
            function(*arguments)
        else:
            self._last = self._thread.submit(function, *arguments)

    def wait(self) -> None:
        """Until nothing is under way."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()


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
    """``map(function, pieces)`` in `workers` processes, of which this is one (shared_work.py); with one worker or one
    piece in this alone.

    The function and its pieces must be picklable, and not defined in the main module. Pieces are taken as they are
    needed, perhaps by another thread. The first error ends the rest and is raised here.
    """
    waiting = iter(pieces)
    first = list(islice(waiting, 2))
    pieces = chain(first, waiting)
    if workers == 1 or len(first) < 2:
        yield from map(function, pieces)
        return
    with crew_of(workers - 1) as pool:
        yield from SharedWork(function, pieces, pool, workers - 1).results()


def _leave(future: "Future[Any]") -> None:
    """After an error nothing may still be writing when the stage is tried again."""
    if not future.cancel():
        wait_for([future])


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
