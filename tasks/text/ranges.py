"""One large file of lines in ranges that several workers read: together they find what one would find in the whole."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tasks.lineage.errors import DataError
from tasks.text import items
from tasks.text.compression import is_compressed
from tasks.text.decoding import wide_encoding
from tasks.text.items import FileState, Item, path_of, state_of
from tasks.text.json_documents import begins_document, may_be_document
from tasks.text.readers import count_ends
from tasks.text.remote import is_remote

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 1 << 18
_LONGEST = 1 << 24  # bytes of a first line


@dataclass(frozen=True)
class LineRange:
    """Whole lines of a file: its bytes from ``begin`` to before ``end``. before: how many lines come before them.
    state: of the file when that was found. looks: who reads these lines also compares the digest of the whole file
    with that of the snapshot."""

    begin: int
    end: int
    before: int
    state: FileState
    looks: bool = False


def count_ranges(item: Item) -> int:
    """How many workers can read an item, ``PART_BYTES`` each and the last up to twice as much: by its size alone, so
    that what was read of it is found again."""
    if item.kind != "jsonl" or item.uri.startswith("pypi://") or (item.path is None and is_remote(item.uri)):
        return 1
    return 1 if is_compressed(path_of(item)) else max(1, item.size // items.PART_BYTES)


def line_ranges(asked: tuple[Item, int]) -> list[LineRange] | None:
    """A file in so many ranges: each has the lines that begin in its share of the bytes, so one may be empty.

    Reads the file once, to know which line a range begins with. None if it is not as large as the snapshot saw it,
    cannot be read, or is in UTF-16, where lines cannot be told by single bytes, may be one JSON document, or is blank.
    """
    item, count = asked
    share = item.size // count
    starts: list[int | None] = [0]  # None: no line begins in this share
    before, lines, offset = [0], 0, share - 1
    try:
        with path_of(item).open("rb") as file:
            state = state_of(os.fstat(file.fileno()))
            beginning = file.read(4)
            file.seek(0)
            is_document = may_be_document(path_of(item)) and begins_document(file, _LONGEST)
            if state[0] != item.size or wide_encoding(beginning) or is_document:
                return None
            file.seek(0)
            blank = True
            data = file.read(offset)  # the last byte before a share tells whether a line begins with it
            for _ in range(1, count):
                blank = blank and (not data or data.isspace())
                lines += count_ends(data)
                data = file.read(share)
                found = data.find(b"\n")
                starts.append(None if found < 0 else offset + found + 1)
                before.append(lines + 1)
                offset += len(data)
            blank = blank and (not data or data.isspace())
            while blank and (data := file.read(share)):
                blank = data.isspace()
    except (OSError, DataError):
        return None
    if blank:
        return None
    bounds = [item.size]
    for start in reversed(starts):
        bounds.append(bounds[-1] if start is None else start)
    return [
        LineRange(begin, end, number, state)
        for (begin, end), number in zip(pairwise(reversed(bounds)), before, strict=True)
    ]


def open_range(path: Path, lines: LineRange) -> BinaryIO:
    """The lines as a file of their own."""
    return io.BufferedReader(_Bytes(path, lines.begin, lines.end), _BUFFER)


class _Bytes(io.RawIOBase):
    """A file from one byte to before another."""

    def __init__(self, path: Path, begin: int, end: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(begin)
        self._left = end - begin

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        read = self._file.readinto(memoryview(buffer).cast("B")[: self._left]) or 0
        self._left -= read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
