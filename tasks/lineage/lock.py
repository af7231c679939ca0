"""One process at a time per key: an advisory `flock`, released by the kernel however its holder dies."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.lineage.errors import StoreError
from tasks.lineage.stage_run import Logger

POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path, name: str, logger: Logger, inputs: Iterable[str] = ()) -> Iterator["Lock"]:
    """Hold the lock `path` inside the block; waits for another holder, saying so once.

    `name` is what the log calls the work. `inputs`: digests of what the work reads, so that they are left alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquire(path, name, logger)
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "inputs": sorted(inputs)}
        os.ftruncate(lock.descriptor, 0)
        os.pwrite(lock.descriptor, json.dumps(owner).encode(), 0)
        yield lock
    finally:
        os.close(lock.descriptor)


@contextmanager
def locked_now(path: Path) -> Iterator[bool]:
    """Hold the lock inside the block if nobody else does; gives whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield _try(descriptor) and _is_at(descriptor, path)
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def inputs_of(path: Path) -> list[str] | None:
    """Digests of what the work reads or read that the lock is, or was, held for; None if it does not say."""
    try:
        said = json.loads(path.read_bytes())["inputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return [str(digest) for digest in said]


@dataclass(frozen=True)
class Lock:
    """A lock that is held."""

    path: Path
    descriptor: int
    name: str

    def check(self) -> None:
        """Raise StoreError if someone removed the lock's file, so that another process may be doing the same work."""
        if not _is_at(self.descriptor, self.path):
            raise StoreError(
                f"{self.name}: its lock {self.path} was removed while it worked, so another process may be at the same "
                "work; nothing was stored. Leave the locks folder alone while a flow runs, and run again."
            )


def _acquire(path: Path, name: str, logger: Logger) -> Lock:
    """A lock on the file that is at `path` now: `pedigree gc` may have removed the one that was opened first."""
    waited = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            held = _try(descriptor)
            if held and _is_at(descriptor, path):
                return Lock(path, descriptor, name)
            if not held:
                if not waited:
                    owner = os.pread(descriptor, 1000, 0).decode(errors="replace") or "unknown"
                    logger.info("%s: waiting, the same work is being done by another process (%s)", name, owner)
                waited = True
                time.sleep(POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
