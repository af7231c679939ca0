"""Content digests of files, remembered by path, size, time of change and inode, so that looking again is cheap.

The memory is a speed-up in ``home()/cache``: a damaged one is set aside and built anew.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_TABLE = """CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"""
_SETTLED_NS = 2_000_000_000  # a file changed less long ago could change again within the clock's grain


class DigestMemory:
    """Digests of files by their path and state. Several processes may use one memory at once.

    ``hashed`` counts files that had to be read. Use as a context manager: what was learnt is written on leaving.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[str, tuple[int, int, int, str]] = {}
        self._learnt: dict[str, tuple[int, int, int, str]] = {}
        self.hashed = 0

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
            database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", rows)
            database.commit()

    def digest(self, path: Path | str) -> tuple[int, str]:
        """Size and SHA-256 of a file. Raises OSError if it cannot be read."""
        status = os.stat(path)
        place = os.fsencode(path).decode(errors="backslashreplace")
        known = self._known.get(place)
        if known is not None and known[:3] == (status.st_size, status.st_mtime_ns, status.st_ino):
            return known[0], known[3]
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
        self.hashed += 1
        state = (after.st_size, after.st_mtime_ns, after.st_ino, sha256)
        unmoved = (status.st_size, status.st_mtime_ns, status.st_ino) == state[:3]
        if unmoved and time.time_ns() - after.st_mtime_ns > _SETTLED_NS:
            self._learnt[place] = self._known[place] = state
        return after.st_size, sha256

    def _load(self) -> None:
        with self._connect() as database:
            rows = database.execute("SELECT path, size, mtime_ns, inode, sha256 FROM digests")
            self._known = {path: (size, mtime, inode, sha256) for path, size, mtime, inode, sha256 in rows}

    def _connect(self) -> contextlib.closing[sqlite3.Connection]:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._place, timeout=60)
        try:
            connection.execute(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return contextlib.closing(connection)
