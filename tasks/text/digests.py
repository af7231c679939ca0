"""Content digests of files, remembered by path, size, times of change and inode, so that looking again is cheap.

The memory is a speed-up in ``home()/cache``: a damaged one is set aside and built anew.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tasks.lineage.home import home

# ctime: an edit that keeps the size and puts the mtime back is seen by it
_TABLE = """CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
    ctime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"""
_OLD = "DROP TABLE IF EXISTS digests"  # of a version that did not look at ctime
_SETTLED_NS = 2_000_000_000  # a file changed less long ago could change again within the clock's grain
_WORTH_ASKING = 1 << 20  # bytes of a file that takes longer to read than to look up
_Known = tuple[int, int, int, int, str]  # size, mtime, ctime, inode, digest


class DigestMemory:
    """Digests of files by their path and state. Several processes may use one memory at once.

    ``hashed`` counts files that had to be read. Use as a context manager: what was learnt is written on leaving.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[str, _Known] = {}
        self._learnt: dict[str, _Known] = {}
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
        self.hashed += 1
        settled = time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns) > _SETTLED_NS
        if settled and _state(status) == _state(after):
            self._learnt[place] = self._known[place] = (*_state(after), sha256)
        return after.st_size, sha256

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
