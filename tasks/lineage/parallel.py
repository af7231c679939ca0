"""A function over independent pieces of work, in several processes; results in the order of the pieces.

This is what a stage's `run.map` does unless `resources.runner` names something else.
"""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any, Protocol, TypeVar

from tasks.lineage.config import Resources

Piece = TypeVar("Piece")
Result = TypeVar("Result")

IDLE_SECONDS = 20.0  # that workers wait for more to do before they end
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
    """``map(function, pieces)``, in at most ``workers`` processes; with one worker or one piece in this process.

    The function and its pieces must be picklable, and not defined in the main module. Pieces are taken as they are
    needed. The first error ends the rest and is raised here. Processes are spawned, not forked (a fork of a process
    with threads can hang), and end when this process does, even if killed. They stay for the next call, for
    IDLE_SECONDS at most.
    """
    waiting = iter(pieces)
    first = list(islice(waiting, max(workers, 1)))
    if len(first) <= 1:
        yield from map(function, chain(first, waiting))
        return
    with _crew(workers) as pool:
        pieces = chain(first, waiting)
        yield from in_window(lambda piece: pool.submit(function, piece), pieces, len(first), leave=_leave)


@dataclass
class _Crew:
    """Workers, by what a process takes over from the one that starts it. users: calls that they work for."""

    key: Any
    pool: ProcessPoolExecutor
    users: int = 0
    timer: threading.Timer | None = None


_crews: dict[Any, _Crew] = {}
_lock = threading.Lock()


@contextmanager
def _crew(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Workers that an earlier call has left waiting, or new ones: to start one takes as long as it takes to import what
    it needs, in every stage again."""
    key = (workers, os.getcwd(), tuple(sorted(os.environ.items())))
    with _lock:
        if key not in _crews:
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)
            with _without_main():
                for _ in range(workers):
                    pool.submit(int)  # each starts a process
            _crews[key] = _Crew(key, pool)
        crew = _crews[key]
        crew.users += 1
        if crew.timer is not None:
            crew.timer.cancel()
        for other in [other for other in _crews.values() if not other.users]:
            _dismiss(other)  # nothing that is asked of them now could be asked again: they hold memory for nothing
    try:
        yield crew.pool
    except BrokenExecutor:
        with _lock:
            _dismiss(crew)
        raise
    finally:
        with _lock:
            crew.users -= 1
            if not crew.users and _crews.get(key) is crew:
                crew.timer = threading.Timer(IDLE_SECONDS, _dismiss_idle, [crew])
                crew.timer.daemon = True
                crew.timer.start()


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are spawned meanwhile do not import the main module of this one. It takes as long as all else that
    they need where Prefect runs a flow, and no worker needs anything of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _dismiss_idle(crew: _Crew) -> None:
    with _lock:
        if not crew.users:
            _dismiss(crew)


def _dismiss(crew: _Crew) -> None:
    if _crews.get(crew.key) is crew:
        del _crews[crew.key]
    if crew.timer is not None:
        crew.timer.cancel()
    crew.pool.shutdown(wait=False, cancel_futures=True)


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


def end_with_parent() -> None:
    """In a worker process: ends it as soon as the process that started it has ended, however that came."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
