"""One process at a time per key: an advisory `flock`, released by the kernel however its holder dies."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.lineage.stage_run import Logger

POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path, name: str, logger: Logger) -> Iterator[bool]:
    """Hold the lock `path` inside the block; waits for another holder, saying so once.

    Yields whether it had to wait. `name` is what the log calls the work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        waited = _acquire(descriptor, name, logger)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield waited
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, name: str, logger: Logger) -> bool:
    waited = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return waited
        except BlockingIOError:
            if not waited:
                owner = os.pread(descriptor, 1000, 0).decode(errors="replace") or "unknown"
                logger.info("%s: waiting, the same work is being done by another process (%s)", name, owner)
            waited = True
            time.sleep(POLL_SECONDS)
