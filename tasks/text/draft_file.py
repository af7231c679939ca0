"""A file of drafts: tables one after another, as they lie in memory, each with checksums.

Drafts are read twice and seldom kept for long, so what is quick counts for more than what is small. But columns that
say one thing in all rows, as most do, are stored as one row. A table so becomes three Arrow record batches: these, the
others, and what the first look at drafts leaves out, such as the texts. Nothing is read as Arrow's before its checksum
was compared, since Arrow trusts what it is given.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_digest

from tasks.text.shards import COLLECTED_FROM
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
_NESTED = "collected_from"
_WITHIN = [pa.field(f"{_NESTED}.{field.name}", field.type) for field in COLLECTED_FROM]
_STORED = pa.schema([*(field.with_type(pa.bool_()) if field.name == _NESTED else field for field in SCHEMA), *_WITHIN])
"""Columns as they are stored: of the nested one whether it is there, and what is in it."""
_BULKY = ("text", f"{_NESTED}.place")
_HEAD = struct.Struct("<2q3q8s8s8s")  # of a table: its rows, which columns are one row, each part's bytes and checksum
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
            columns = _stored(batch)
            once = [name not in _BULKY and _says_one_thing(array) for name, array in columns.items()]
            mask = sum(1 << place for place, one in enumerate(once) if one)
            parts = [
                pa.record_batch([columns[name].slice(0, rows) for name in schema.names], schema).serialize()
                for schema, rows in zip(_parts(mask), (1, batch.num_rows, batch.num_rows), strict=True)
            ]
            head = _HEAD.pack(batch.num_rows, mask, *(part.size for part in parts), *map(xxh3_64_digest, parts))
            for piece in (head, xxh3_64_digest(head), *parts):
                self._file.write(piece)

    def close(self) -> None:
        """End the file."""
        self._file.close()


class DraftFile:
    """A file of drafts to be read. path: where it lies; starts: the row that each of its T tables begins with, and the
    number of rows, (T + 1,)."""

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path.open("rb")
        self._tables: list[_Place] = []
        self.starts = [0]
        while head := self._file.read(_HEAD.size + _CHECKSUM_BYTES):
            self._compare(head[: _HEAD.size], head[_HEAD.size :])
            rows, mask, *parts = _HEAD.unpack(head[: _HEAD.size])
            self._tables.append(_Place(self._file.tell(), rows, mask, parts[:3], parts[3:]))
            self.starts.append(self.starts[-1] + rows)
            self._file.seek(sum(parts[:3]), 1)

    def read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One of the tables, or some columns of it. Raises DamagedDrafts."""
        table = self._tables[number]
        wanted: Sequence[str] = columns or SCHEMA.names
        stored = {*wanted, *(field.name for field in _WITHIN if _NESTED in wanted)}
        found: dict[str, pa.Array] = {}
        place = table.begin
        for part, (schema, size, checksum) in enumerate(
            zip(_parts(table.mask), table.sizes, table.checksums, strict=True)
        ):
            if names := [name for name in schema.names if name in stored]:
                self._file.seek(place)
                data = self._file.read(size)
                self._compare(data, checksum)
                batch = pa.ipc.read_record_batch(data, schema)
                found |= {name: batch[name] if part else pa.repeat(batch[name][0], table.rows) for name in names}
            place += size
        if _NESTED in found:
            within = [found[field.name] for field in _WITHIN]
            missing = pc.invert(found[_NESTED])
            found[_NESTED] = pa.StructArray.from_arrays(within, fields=list(COLLECTED_FROM), mask=missing)
        return pa.table({name: found[name] for name in wanted})

    def _compare(self, data: bytes, checksum: bytes) -> None:
        if xxh3_64_digest(data) != checksum:
            raise DamagedDrafts(f"{self.path}: its bytes are not those that were written")

    def close(self) -> None:
        """End reading."""
        self._file.close()


@dataclass(frozen=True)
class _Place:
    """Where a table lies. mask: bit i says that column i of _STORED is one row. sizes, checksums: of its parts."""

    begin: int
    rows: int
    mask: int
    sizes: list[int]
    checksums: list[bytes]


@cache
def _parts(mask: int) -> tuple[pa.Schema, pa.Schema, pa.Schema]:
    """The columns of each part."""
    parts: tuple[list[pa.Field], ...] = ([], [], [])
    for place, field in enumerate(_STORED):
        parts[2 if field.name in _BULKY else 0 if mask >> place & 1 else 1].append(field)
    one, several, bulky = map(pa.schema, parts)
    return one, several, bulky


def _stored(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Columns as in _STORED."""
    nested = batch[_NESTED]
    within = {field.name: array for field, array in zip(_WITHIN, nested.flatten(), strict=True)}
    columns = {name: batch[name] for name in batch.schema.names} | {_NESTED: pc.is_valid(nested)} | within
    return {name: columns[name] for name in _STORED.names}


def _says_one_thing(array: pa.Array) -> bool:
    """Whether all rows are alike."""
    if array.null_count:
        return bool(array.null_count == len(array))
    return array[-1].equals(array[0]) and bool(pc.all(pc.equal(array, array[0])).as_py())
