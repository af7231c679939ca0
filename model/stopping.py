"""Stopping on request: SIGTERM becomes a flag that the training loop polls between steps."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """While entered in the main thread, SIGTERM sets a flag; on leaving, the former handler is back and, if SIGTERM had
    come, it is sent again so that whoever waits for it (Prefect, the shell) sees it.

    In another thread no handler can be installed; there, and besides, `should_stop` is polled.
    """

    def __init__(self, should_stop: Callable[[], bool] | None = None) -> None:
        self._should_stop = should_stop
        self._received = threading.Event()
        self._former: Any = None
        self._installed = False

    def requested(self) -> bool:
        """Whether the loop should save and stop."""
        return self._received.is_set() or (self._should_stop is not None and self._should_stop())

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, self._receive)
            self._installed = True
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._installed:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL if self._former is None else self._former)
        if self._received.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
