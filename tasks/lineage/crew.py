"""Worker processes that stay from one call to the next: to start one takes as long as it takes to import what it needs.

They are spawned, not forked (a fork of a process with threads can hang), and end when this process does, even if that
is killed.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any

IDLE_SECONDS = 20.0  # that workers wait for more to do before they end


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
def crew_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """So many workers: those that an earlier call has left waiting, or new ones."""
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


def end_with_parent() -> None:
    """In a worker process: ends it as soon as the process that started it has ended, however that came."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
