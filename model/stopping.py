"""Stopping on request: SIGTERM becomes a flag that the training loop polls between steps.

Python runs signal handlers in the main thread only. A loop there installs its own (`StopRequest`). Where training runs
in another thread, the main thread enters `sigterm_reaches_threads` first, and the loops in the threads poll its flag.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# One request can come twice within so long: `timeout` asks a process and then its group, and torchrun hands it on.
ONCE_SECONDS = 2.0
SAVING_SECONDS = 25.0  # how long SIGTERM waits for threads to save; Prefect kills 30 s after it has asked


_logger = logging.getLogger(__name__)


class TrainingStopped(Exception):
    """Training was asked to stop after `step` steps. Where it saves checkpoints it has saved one, if it has made any
    step; run it again to go on."""

    def __init__(self, step: int, saved: bool = True) -> None:
        again = "a checkpoint is saved: run again to go on from there" if saved else "nothing is saved: run again"
        after = f"after {step} steps; {again}" if step else "before its first step: run again"
        super().__init__(f"stopped on request {after}")
        self.step = step


_terminated = threading.Event()  # SIGTERM came to a main thread that listens for its threads
_polling: set[int] = set()  # the threads that are in a StopRequest; adding and removing are atomic


@contextmanager
def sigterm_reaches_threads(saving_seconds: float = SAVING_SECONDS) -> Iterator[None]:
    """While entered in the main thread, SIGTERM asks the training loops of all other threads to save and stop, waits
    until they have (at most `saving_seconds`), and then does what it did before. In another thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.getsignal(signal.SIGTERM)

    def receive(number: int, frame: FrameType | None) -> None:
        _terminated.set()
        deadline = time.monotonic() + saving_seconds
        while _polling and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        _terminated.clear()
        if signal.getsignal(signal.SIGTERM) is receive:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)


class StopRequest:
    """While entered in the main thread, SIGTERM sets a flag; on leaving, the former handler is back and, if SIGTERM had
    come, it is sent again so that whoever waits for it (Prefect, the shell) sees it, after what was raised was logged.
    Asked again (after ONCE_SECONDS), it does at once what it did before.

    In another thread no handler can be installed; there the flag of `sigterm_reaches_threads` is polled, and
    everywhere `should_stop`.
    """

    def __init__(self, should_stop: Callable[[], bool] | None = None) -> None:
        self._should_stop = should_stop
        self._received = threading.Event()
        self._received_at = 0.0
        self._former: Any = None
        self._installed = False

    def requested(self) -> bool:
        """Whether the loop should save and stop."""
        if self._received.is_set() or (not self._installed and _terminated.is_set()):
            return True
        return self._should_stop is not None and self._should_stop()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, self._receive)
            self._installed = True
        else:
            _polling.add(threading.get_ident())
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._received.is_set():
            self._received_at = time.monotonic()
            self._received.set()
        elif time.monotonic() - self._received_at > ONCE_SECONDS:
            self._restore()
            os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if self._former is None else self._former)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._installed:
            _polling.discard(threading.get_ident())
            return
        self._restore()
        if self._received.is_set():
            if error is not None:  # which nobody else will tell of
                _logger.warning("Ending on SIGTERM: %s", error)
            os.kill(os.getpid(), signal.SIGTERM)
