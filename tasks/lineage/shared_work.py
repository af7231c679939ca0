"""Pieces of work that several processes and the calling thread take as they are free; results in the order of the
pieces.

The caller works where it would only wait otherwise, so a helper that is still starting holds nobody up, and what the
caller does with the results comes first.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from functools import partial
from typing import Generic, TypeVar

from tasks.lineage.large_results import receive, send

Piece = TypeVar("Piece")
Result = TypeVar("Result")

HELD = 4  # results, finished or not, that wait for those before them, for each who works: it bounds memory


class SharedWork(Generic[Piece, Result]):
    """`function` of each piece. pool: an executor of `helpers` processes.

    A helper has one piece at a time, and gets the next from the thread that tells of its result, so it never waits for
    the caller.
    """

    def __init__(
        self, function: Callable[[Piece], Result], pieces: Iterable[Piece], pool: Executor, helpers: int
    ) -> None:
        self._function, self._pieces, self._pool = function, iter(pieces), pool
        self._idle, self._most = helpers, HELD * (helpers + 1)
        self._futures: deque[Future[Result]] = deque()  # of the pieces that were taken, in order
        self._lock = threading.RLock()

    def results(self) -> Iterator[Result]:
        """The first error of a piece, or of making one, ends the rest and is raised. When this ends, no helper is at
        work any more: nothing may still be writing when a stage is tried again."""
        try:
            self._feed()
            while self._futures or self._work():
                while not self._futures[0].done() and self._work():
                    pass
                first = self._futures[0].result()
                with self._lock:
                    self._futures.popleft()
                self._feed()
                yield first
        finally:
            with self._lock:
                self._pieces = iter(())
            wait(self._futures)

    def _take(self) -> tuple[Piece, Future[Result]] | None:
        """The next piece, and the future of its result; None where there is none, or too many results wait."""
        with self._lock:
            if len(self._futures) >= self._most:
                return None
            future: Future[Result] = Future()
            try:
                piece = next(self._pieces)
            except StopIteration:
                return None
            except Exception as error:
                self._pieces = iter(())
                future.set_exception(error)
                self._futures.append(future)
                return None
            self._futures.append(future)
            return piece, future

    def _work(self) -> bool:
        """Do one piece here. False where none could be taken."""
        taken = self._take()
        if taken is None:
            return False
        piece, future = taken
        try:
            future.set_result(self._function(piece))
        except BaseException as error:  # the caller is told at once, and nobody waits for the result
            future.set_exception(error)
            raise
        return True

    def _feed(self) -> None:
        """Give every idle helper a piece."""
        with self._lock:
            while self._idle and (taken := self._take()) is not None:
                piece, future = taken
                self._idle -= 1
                try:
                    done = self._pool.submit(send, self._function, piece)
                except Exception as error:  # the pool is broken: a helper has died
                    future.set_exception(error)
                else:
                    done.add_done_callback(partial(self._pass_on, future))

    def _pass_on(self, future: Future[Result], done: Future[Result]) -> None:
        with self._lock:
            self._idle += 1
        self._feed()
        try:
            future.set_result(receive(done.result()))
        except Exception as error:
            future.set_exception(error)
