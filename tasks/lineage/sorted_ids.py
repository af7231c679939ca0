"""Document ids, sorted, in a file that is searched without being read: the format of the indexes beside the store.

Of each id its first 64 bits stand there (ids are hashes; that two of ten million share them has a chance of 3e-6 over
all pairs, and 5e-13 for a given one), with a number for where it stands and a code for what is said of it.

The file: MAGIC, length of the header (uint32), the header (JSON: {"version", "counts", "labels", …}), then for each
section the ids (uint64, rising), numbers (uint32) and codes (uint8). Little-endian, each array on an 8-byte boundary.
Opened by `mmap`, a look-up touches a page for each halving of the ids.
"""

import json
import mmap
import os
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAGIC = b"PEDIGIDX"
VERSION = 1
ID_DIGITS = 32  # of a doc_id or pair_id, in hexadecimal
_PREFIX_DIGITS = 16
_ALIGNMENT = 8
READ_WHOLE_BYTES = 1 << 15  # below it, reading costs less than mapping
_PREAMBLE = struct.Struct("<8sI")

# The byte that two hexadecimal digits write, read as one number; 256 for any other two.
_BYTES = np.full(1 << 16, 256, np.uint16)
_BYTES[np.frombuffer(bytes(range(256)).hex().encode(), "<u2")] = np.arange(256)

Ids = NDArray[np.uint64]


class Section(NamedTuple):
    """Ids (N,) in rising order, each with a number (N,) uint32 and a code (N,) uint8."""

    ids: Ids
    numbers: NDArray[np.uint32]
    codes: NDArray[np.uint8]

    @property
    def num_bytes(self) -> int:
        return sum(_padded(array.nbytes) for array in self)


class SortedIds(NamedTuple):
    """An opened index: its header and its sections by name."""

    header: Mapping[str, Any]
    sections: Mapping[str, Section]


def short_id(doc_id: str) -> int:
    """The first 64 bits of an id; of one that is not 32 hexadecimal digits, of its BLAKE2b hash."""
    if len(doc_id) == ID_DIGITS:
        with suppress(ValueError):
            written = _BYTES[np.frombuffer(doc_id.encode(), "<u2")]
            if len(written) == ID_DIGITS // 2 and written.max() < 256:
                return int(doc_id[:_PREFIX_DIGITS], 16)
    return int.from_bytes(blake2b(doc_id.encode(), digest_size=8).digest(), "big")


def short_ids(column: pa.Array | pa.ChunkedArray) -> Ids:
    """`short_id` of a column of ids (N,), without nulls; a million a second and more where all are hexadecimal."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of no chunk
        return np.zeros(0, np.uint64)
    if not len(column):
        return np.zeros(0, np.uint64)
    column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, "<i8", len(column) + 1, 8 * column.offset)
    if (np.diff(bounds) == ID_DIGITS).all():
        pairs = np.frombuffer(data, "<u2", ID_DIGITS // 2 * len(column), int(bounds[0]))
        written = _BYTES.take(pairs, mode="clip").reshape(len(column), ID_DIGITS // 2)  # no pair is beyond the table
        if written.max() < 256:
            return written[:, : _PREFIX_DIGITS // 2].astype(np.uint8).view(">u8").reshape(-1).astype(np.uint64)
    return np.array([short_id(value) for value in column.to_pylist()], np.uint64)


def prefix_range(prefix: str) -> tuple[int, int]:
    """The least and the greatest short id of ids that begin with these hexadecimal digits."""
    head = prefix[:_PREFIX_DIGITS]
    return int(head.ljust(_PREFIX_DIGITS, "0"), 16), int(head.ljust(_PREFIX_DIGITS, "f"), 16)


def places(section: Section, ids: Ids) -> NDArray[np.int64]:
    """Where each of `ids` (M,) stands in the section, its first place; −1 where it does not (M,)."""
    if not len(section.ids):
        return np.full(len(ids), -1, np.int64)
    found = np.searchsorted(section.ids, ids)
    found[found == len(section.ids)] = 0
    return np.where(section.ids[found] == ids, found, -1)


def all_places(section: Section, ids: Ids) -> NDArray[np.int64]:
    """Every place of the section where one of `ids` stands, in rising order."""
    low, high = (np.searchsorted(section.ids, ids, side) for side in ("left", "right"))
    runs = [np.arange(start, stop) for start, stop in zip(low, high, strict=True) if stop > start]
    return np.unique(np.concatenate(runs)) if runs else np.zeros(0, np.int64)


def in_order(ids: Ids, numbers: NDArray[np.integer], codes: NDArray[np.integer]) -> Section:
    """A section of rows in any order; rows of one id stay in the order given."""
    order = np.argsort(ids, kind="stable")
    return Section(ids[order], numbers[order].astype(np.uint32), codes[order].astype(np.uint8))


def encode(header: Mapping[str, Any], sections: Mapping[str, Section]) -> Iterator[bytes | memoryview]:
    """The bytes of an index file, part by part."""
    counts = {name: len(section.ids) for name, section in sections.items()}
    text = json.dumps({"version": VERSION, "counts": counts, **header}).encode()
    yield _PREAMBLE.pack(MAGIC, len(text))
    yield text
    yield bytes(_padded(_PREAMBLE.size + len(text)) - _PREAMBLE.size - len(text))
    for section in sections.values():
        for content in (
            section.ids.astype("<u8", copy=False),
            section.numbers.astype("<u4", copy=False),
            section.codes,
        ):
            yield np.ascontiguousarray(content).data
            yield bytes(_padded(content.nbytes) - content.nbytes)


def decode(data: bytes | mmap.mmap) -> SortedIds | None:
    """The index that these bytes hold; None if they are not a whole index of this version."""
    if len(data) < _PREAMBLE.size:
        return None
    magic, length = _PREAMBLE.unpack_from(data)
    if magic != MAGIC:
        return None
    try:
        header = json.loads(data[_PREAMBLE.size : _PREAMBLE.size + length])
        counts = dict(header["counts"])
        if header["version"] != VERSION:
            return None
        begin = _padded(_PREAMBLE.size + length)
        sections = {}
        for name, count in counts.items():
            arrays = []
            for kind in ("<u8", "<u4", "u1"):
                arrays.append(np.frombuffer(data, kind, count, begin))
                begin += _padded(arrays[-1].nbytes)
            sections[name] = Section(*arrays)
    except (ValueError, KeyError, TypeError):
        return None
    return SortedIds(header, sections) if begin == len(data) else None


def open_index(path: Path | str) -> SortedIds | None:
    """The index in a file, mapped into memory; None if there is none, or what is there is not whole."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size <= READ_WHOLE_BYTES:
            return decode(os.read(descriptor, READ_WHOLE_BYTES))
        with suppress(ValueError):  # an empty file cannot be mapped
            return decode(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
    return None


def keep_index(path: Path, header: Mapping[str, Any], sections: Mapping[str, Section]) -> SortedIds:
    """Write an index and give it back. Where it cannot be written (disk full, somebody else's store) it is used from
    memory, and made again the next time."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(encode(header, sections))
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return open_index(path) or SortedIds(header, sections)


def labels(header: Mapping[str, Any]) -> Sequence[Any]:
    """What the codes stand for."""
    found: Sequence[Any] = header["labels"]
    return found


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
