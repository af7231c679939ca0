"""Content digests of files, remembered by path, size, times of change and inode, so that looking again is cheap.

The memory is a speed-up in ``home()/cache``: a damaged one is set aside and built anew.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from io import BufferedReader
from itertools import chain
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tasks.lineage.home import home
from tasks.lineage.parallel import in_threads

# ctime: an edit that keeps the size and puts the mtime back is seen by it
_TABLE = """CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
    ctime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"""
_OLD = "DROP TABLE IF EXISTS digests"  # of a version that did not look at ctime
_SETTLED_NS = 2_000_000_000  # a file changed less long ago could change again within the clock's grain
_WORTH_ASKING = 1 << 20  # bytes of a file that takes longer to read than to look up
_BATCH_FILES, _BATCH_BYTES = 256, 1 << 20  # that a thread reads before it gives their digests
_Known = tuple[int, int, int, int, str]  # size, mtime, ctime, inode, digest


class DigestMemory:
    """Digests of files by their path and state. Several processes and threads may use one memory at once.

    ``hashed`` counts files that had to be read. Use as a context manager: what was learnt is written on leaving.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[str, _Known] = {}
        self._learnt: dict[str, _Known] = {}
        self.hashed = 0
        self._counting = Lock()

    def __enter__(self) -> Self:
        try:
            self._load()
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._place.replace(self._place.with_suffix(".damaged"))
            self._known = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._learnt:
            return
        rows = [(path, *state) for path, state in self._learnt.items()]
        with contextlib.suppress(sqlite3.Error), self._connect() as database:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)
            database.commit()

    def digest(self, path: Path | str) -> tuple[int, str]:
        """Size and SHA-256 of a file. Raises OSError if it cannot be read."""
        status = os.stat(path)
        place = _named(path)
        known = self._known.get(place)
        if known is not None and known[:4] == _state(status):
            return known[0], known[4]
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        with self._counting:
            self.hashed += 1
        settled = time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns) > _SETTLED_NS
        if settled and _state(status) == _state(after):
            self._learnt[place] = self._known[place] = (*_state(after), sha256)
        return after.st_size, sha256

    def digests(self, paths: Sequence[Path | str], workers: int) -> Iterator[tuple[int, str] | OSError]:
        """As `digest` of each, in order, with so many threads that read; the error of one that cannot be read."""
        return chain.from_iterable(in_threads(workers)(self._each, _batches(paths)))

    def _each(self, paths: list[Path | str]) -> list[tuple[int, str] | OSError]:
        found: list[tuple[int, str] | OSError] = []
        for path in paths:
            try:
                found.append(self.digest(path))
            except OSError as error:
                found.append(error)
        return found

    def _load(self) -> None:
        with self._connect() as database:
            rows = database.execute("SELECT path, size, mtime_ns, ctime_ns, inode, sha256 FROM files")
            self._known = {path: (size, mtime, ctime, inode, sha) for path, size, mtime, ctime, inode, sha in rows}

    def _connect(self) -> contextlib.closing[sqlite3.Connection]:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._place, timeout=60)
        try:
            connection.execute(_TABLE)
            connection.execute(_OLD)
        except sqlite3.Error:
            connection.close()
            raise
        return contextlib.closing(connection)


def _batches(paths: Sequence[Path | str]) -> Iterator[list[Path | str]]:
    """A large file alone, so that threads share them; many small ones together, of which threads only cost time."""
    held: list[Path | str] = []
    size = 0
    for path in paths:
        held.append(path)
        with contextlib.suppress(OSError):  # who reads it is told
            size += os.stat(path).st_size
        if len(held) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def memory_place() -> Path:
    """Where digests are remembered."""
    return home() / "cache" / "digests.sqlite"


def digest_of(file: BufferedReader) -> str:
    """SHA-256 of an open file from its beginning. A large one is not read if it is in a state in which it was read
    before."""
    status = os.fstat(file.fileno())
    known = _remembered(file.name, status) if status.st_size >= _WORTH_ASKING else None
    return known or hashlib.file_digest(file, "sha256").hexdigest()


def _remembered(path: str, status: os.stat_result) -> str | None:
    place = f"file:{quote(str(memory_place()))}?mode=ro"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(place, timeout=60, uri=True)) as memory:
        query = "SELECT size, mtime_ns, ctime_ns, inode, sha256 FROM files WHERE path = ?"
        known: _Known | None = memory.execute(query, [_named(path)]).fetchone()
        if known is not None and known[:4] == _state(status):
            return known[4]
    return None


def _named(path: Path | str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
