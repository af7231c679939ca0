"""Batches read ahead of the step that wants them, by threads, in the order of the steps.

A batch is a pure function of its step (`model.training.Batches`), so how many threads read, and how far ahead, changes
no byte of the result. Reading is numpy and tensor work that lets other threads run meanwhile.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

AHEAD = 2  # batches that each thread keeps ready or in the making


class Prefetched(Generic[T]):
    """Gives the batches of the steps `start`, `start` + 1, … < `steps`, each once, in this order.

    workers: threads that read; 0 reads in the caller, when asked. An error of reading is raised where the batch of its
    step is asked for. Use it as a context: leaving it ends the threads.
    """

    def __init__(self, batches: Callable[[int], T], start: int, steps: int, workers: int = 1) -> None:
        self._batches, self._workers, self._steps = batches, workers, steps
        self._next = start
        self._waiting: deque[Future[T]] = deque()
        self._threads = ThreadPoolExecutor(workers, "reading") if workers else None

    def __call__(self, step: int) -> T:
        """The batch of `step`, which must be the one after the last that was asked for."""
        if self._threads is None:
            return self._batches(step)
        assert step == self._next - len(self._waiting), f"step {step} is asked for out of order"
        while self._next < self._steps and len(self._waiting) <= AHEAD * self._workers:
            self._waiting.append(self._threads.submit(self._batches, self._next))
            self._next += 1
        return self._waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
