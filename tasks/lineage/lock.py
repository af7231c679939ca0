"""One process at a time per key: an advisory `flock`, released by the kernel however its holder dies."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.lineage.errors import StoreError
from tasks.lineage.stage_run import Logger

POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path, name: str, logger: Logger) -> Iterator["Lock"]:
    """Hold the lock `path` inside the block; waits for another holder, saying so once.

    `name` is what the log calls the work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(path, os.open(path, os.O_RDWR | os.O_CREAT, 0o644), name)
    try:
        _acquire(lock.descriptor, name, logger)
        os.ftruncate(lock.descriptor, 0)
        os.pwrite(lock.descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield lock
    finally:
        os.close(lock.descriptor)


@dataclass(frozen=True)
class Lock:
    """A lock that is held."""

    path: Path
    descriptor: int
    name: str

    def check(self) -> None:
        """Raise StoreError if someone removed the lock's file, so that another process may be doing the same work."""
        try:
            still = os.path.samestat(os.fstat(self.descriptor), os.stat(self.path))
        except FileNotFoundError:
            still = False
        if not still:
            raise StoreError(
                f"{self.name}: its lock {self.path} was removed while it worked, so another process may be at the same "
                "work; nothing was stored. Leave the locks folder alone while a flow runs, and run again."
            )


def _acquire(descriptor: int, name: str, logger: Logger) -> None:
    waited = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not waited:
                owner = os.pread(descriptor, 1000, 0).decode(errors="replace") or "unknown"
                logger.info("%s: waiting, the same work is being done by another process (%s)", name, owner)
            waited = True
            time.sleep(POLL_SECONDS)
