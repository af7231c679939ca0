"""A file of drafts: tables one after another, as they lie in memory, each with checksums.

Drafts are read twice and seldom kept for long, so what is quick counts for more than what is small. A table is stored
as two Arrow record batches, and the first look at drafts leaves out the one with the texts. Nothing is read as Arrow's
before its checksum was compared, since Arrow trusts what it is given.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from xxhash import xxh3_64_digest

from tasks.text.shards import SCHEMA as CORPUS

SCHEMA = pa.schema(
    [
        *CORPUS,
        ("reason", pa.string()),
        ("bytes_in", pa.int64()),
        ("line", pa.int64()),  # of what was rejected: where, why, and how it begins
        ("rejected", pa.string()),
        ("excerpt", pa.string()),
        ("encoding", pa.string()),  # null: UTF-8
    ]
)
_BULKY = ("text", "collected_from")
_PARTS = [pa.schema([field for field in SCHEMA if (field.name in _BULKY) == bulky]) for bulky in (False, True)]
_HEAD = struct.Struct("<q2q8s8s")  # of a table: its rows, and the bytes and the checksum of each part
_CHECKSUM_BYTES = 8  # of a head, which it follows


class DamagedDrafts(Exception):
    """A file of drafts cannot be read."""


class DraftWriter:
    """Writes a file of drafts."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, table: pa.Table) -> None:
        """Append rows, columns as in SCHEMA."""
        for batch in table.combine_chunks().to_batches():
            parts = [batch.select(part.names).serialize() for part in _PARTS]
            sizes, checksums = [part.size for part in parts], map(xxh3_64_digest, parts)
            head = _HEAD.pack(batch.num_rows, *sizes, *checksums)
            for piece in (head, xxh3_64_digest(head), *parts):
                self._file.write(piece)

    def close(self) -> None:
        """End the file."""
        self._file.close()


class DraftFile:
    """A file of drafts to be read. starts: the row that each of its T tables begins with, and the number of rows,
    (T + 1,)."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("rb")
        self._tables: list[tuple[int, list[int], list[bytes]]] = []  # where each lies, its parts' bytes and checksums
        self.starts = [0]
        while head := self._file.read(_HEAD.size + _CHECKSUM_BYTES):
            self._compare(head[: _HEAD.size], head[_HEAD.size :])
            rows, first, second, *checksums = _HEAD.unpack(head[: _HEAD.size])
            self._tables.append((self._file.tell(), [first, second], checksums))
            self.starts.append(self.starts[-1] + rows)
            self._file.seek(first + second, 1)

    def read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One of the tables, or some columns of it. Raises DamagedDrafts."""
        place, sizes, checksums = self._tables[number]
        wanted: Sequence[str] = columns or SCHEMA.names
        found: dict[str, pa.Array] = {}
        for part, size, checksum in zip(_PARTS, sizes, checksums, strict=True):
            if not set(wanted).isdisjoint(part.names):
                self._file.seek(place)
                data = self._file.read(size)
                self._compare(data, checksum)
                batch = pa.ipc.read_record_batch(data, part)
                found |= dict(zip(part.names, batch.columns, strict=True))
            place += size
        return pa.table({name: found[name] for name in wanted})

    def _compare(self, data: bytes, checksum: bytes) -> None:
        if xxh3_64_digest(data) != checksum:
            raise DamagedDrafts(f"{self._path}: its bytes are not those that were written")

    def close(self) -> None:
        """End reading."""
        self._file.close()
