"""Drafts of items that were read before, so that a second collection reads only what is new or changed.

An item's drafts are remembered in ``home()/cache/drafts`` under the digest of everything that shapes them: its content
and address, the settings of its source, the limits, and the code and libraries that read. Only a speed-up, never a
source of truth: what is damaged or gone is read again, and what nobody used for a month is deleted.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from tasks.lineage.fingerprint import fingerprint
from tasks.lineage.home import home
from tasks.text.documents import Limits
from tasks.text.drafts import Drafted, Segment, write_drafts
from tasks.text.items import Item
from tasks.text.ranges import line_ranges
from tasks.text.sources import Source

LIBRARIES = ("datasets", "fastwarc", "numba", "py3langid", "pyarrow", "pypdfium2", "resiliparse", "xxhash", "zstandard")
_UNUSED_SECONDS = 30 * 24 * 3600
_TABLE = (
    "CREATE TABLE IF NOT EXISTS items (key BLOB PRIMARY KEY, file TEXT, bytes INT, first INT, rows INT) WITHOUT ROWID"
)
_INDEX = "items.sqlite"  # and what sqlite leaves beside it
_AT_ONCE = 500
_SAVED_SECONDS = 1.0  # what a killed run loses at most; each time takes as long as to read some hundred kilobytes


def folder() -> Path:
    """Where drafts are remembered."""
    return home() / "cache" / "drafts"


def drop_remembered_texts() -> None:
    """Delete every text that is remembered only to save time: it may be one that has to be forgotten."""
    for name in ("drafts", "documented", "fetched"):
        shutil.rmtree(home() / "cache" / name, ignore_errors=True)


def item_keys(source: Source, items: Iterable[Item], limits: Limits) -> Iterator[bytes]:
    """What the drafts of each item are remembered under."""
    shaping = {"reader": _reader(), "limits": asdict(limits), "source": source.model_dump(exclude={"path", "role"})}
    start = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode())
    for item in items:
        digest = start.copy()
        content = [item.uri, item.sha256, item.origin, item.license, item.kind, item.split]
        digest.update(json.dumps(content).encode())
        yield digest.digest()


def range_key(item_key: bytes, number: int, count: int) -> bytes:
    """What the drafts of one of an item's ranges are remembered under."""
    return hashlib.sha256(item_key + f"{number} of {count}".encode()).digest()


@cache
def _reader() -> str:
    code = [fingerprint(function).digest for function in (write_drafts, line_ranges)]
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    return hashlib.sha256("\n".join([*code, sys.version, *versions]).encode()).hexdigest()


class DraftCache:
    """The remembered drafts. Several processes may use them at once."""

    def __init__(self) -> None:
        self._folder = folder()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._whole: dict[str, int | None] = {}  # file → its bytes, None if it is gone
        self._unsaved: list[tuple[bytes, str, int, int, int]] = []
        self._saved = time.monotonic()

    def file(self, keys: Sequence[bytes]) -> Path:
        """Where to put the drafts of these items: a new place, since another process may read the same at this time."""
        return self._folder / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}-{uuid4().hex[:8]}.drafts"

    def known(self, keys: Sequence[bytes]) -> dict[bytes, Segment]:
        """Where the drafts of those items lie that were read before, as far as their files are whole."""
        found: dict[bytes, Segment] = {}
        try:
            with self._connect() as database:
                for begin in range(0, len(keys), _AT_ONCE):
                    asked = keys[begin : begin + _AT_ONCE]
                    marks = ",".join("?" * len(asked))
                    query = f"SELECT key, file, bytes, first, rows FROM items WHERE key IN ({marks})"
                    for key, name, size, first, rows in database.execute(query, asked):
                        if self._size(name) == size:
                            found[key] = Segment(self._folder / name, first, rows)
        except sqlite3.DatabaseError:
            self.reset()
            return {}
        return found

    def remember(self, keys: Sequence[bytes], drafted: Sequence[Drafted]) -> None:
        """Keep where the items of one part lie; those that changed while they were read are left out. It is written
        down after a second at the latest, and with ``save`` at once."""
        self._unsaved += [
            (key, made.segment.file.name, made.segment.file.stat().st_size, made.segment.first, made.segment.rows)
            for key, made in zip(keys, drafted, strict=True)
            if not made.changed
        ]
        if time.monotonic() >= self._saved + _SAVED_SECONDS:
            self.save()

    def save(self) -> None:
        """Write down what is to be remembered."""
        rows, self._unsaved, self._saved = self._unsaved, [], time.monotonic()
        with contextlib.suppress(sqlite3.Error, OSError), self._connect() as database:
            database.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)", rows)
            database.commit()

    def used(self, files: Iterable[Path]) -> None:
        """Say which files were used, and delete those that nobody used for long."""
        with contextlib.suppress(OSError, sqlite3.Error):
            for file in files:
                os.utime(file)
            oldest = time.time() - _UNUSED_SECONDS
            old = [path for path in self._folder.iterdir() if not path.name.startswith(_INDEX)]
            old = [path for path in old if path.stat().st_mtime < oldest]
            with self._connect() as database:
                database.executemany("DELETE FROM items WHERE file = ?", [(path.name,) for path in old])
                database.commit()
            for path in old:
                path.unlink(missing_ok=True)

    def reset(self) -> None:
        """Forget everything: something in it is damaged."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._whole.clear()

    def _size(self, name: str) -> int | None:
        if name not in self._whole:
            try:
                self._whole[name] = os.stat(self._folder / name).st_size
            except OSError:
                self._whole[name] = None
        return self._whole[name]

    def _connect(self) -> "contextlib.closing[sqlite3.Connection]":
        connection = sqlite3.connect(self._folder / _INDEX, timeout=60)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut damages is noticed, and read anew
            connection.execute(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return contextlib.closing(connection)
