"""`home()/openlineage/events.jsonl`: every event, one a line, whoever writes and however he ends.

A file above MOST_BYTES becomes events.1.jsonl, the one before it events.2.jsonl and so on; KEPT of them are kept.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.lineage.home import home

MOST_BYTES = 64_000_000
KEPT = 4  # older files


def folder() -> Path:
    return home() / "openlineage"


def path(number: int = 0) -> Path:
    return folder() / ("events.jsonl" if not number else f"events.{number}.jsonl")


def append(line: bytes) -> None:
    """Add one line, which holds no line end. Raises OSError, and leaves the file as it was, where there is no room."""
    folder().mkdir(parents=True, exist_ok=True)
    with _alone():
        if path().exists() and path().stat().st_size >= MOST_BYTES:
            _rotate()
        descriptor = os.open(path(), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a writer was killed, or the disk was full
            try:
                _write(descriptor, b"\n" * torn + line + b"\n")
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _rotate() -> None:
    for number in range(KEPT, 0, -1):
        older = path(number - 1)
        if older.exists():
            older.replace(path(number))


@contextmanager
def _alone() -> Iterator[None]:
    """One writer at a time; the kernel lets go of the lock however its holder ends."""
    descriptor = os.open(folder() / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
