"""One large file of lines in ranges that several workers read: together they find what one would find in the whole."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tasks.lineage.errors import DataError
from tasks.lineage.parallel import Mapper
from tasks.text import items
from tasks.text.compression import is_compressed
from tasks.text.decoding import wide_encoding
from tasks.text.items import FileState, Item, path_of, state_of
from tasks.text.json_documents import begins_document, may_be_document
from tasks.text.readers import count_ends
from tasks.text.remote import is_remote

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 1 << 18  # few enough bytes to stay in the processor's cache
_LONGEST = 1 << 24  # bytes of a first line
_TOGETHER = 8  # shares that one worker looks at: their lines are sooner counted than most runners send a piece


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


@dataclass(frozen=True)
class _Share:
    """What a share of a file's bytes shows. ends: of lines; start: the byte that the first line begins with, None if
    none begins in it; blank: whether it is; state: of the file when it was read."""

    ends: int
    start: int | None
    blank: bool
    state: FileState


def line_ranges(asked: Sequence[tuple[Item, int]], mapper: Mapper) -> Iterator[list[LineRange] | None]:
    """Each file in so many ranges: each has the lines that begin in its share of the bytes, so one may be empty.

    Reads the files once, to know which line a range begins with. None for one that is not as large as the snapshot saw
    it, changes, cannot be read, is in UTF-16, where lines cannot be told by single bytes, may be one JSON document, or
    is blank. mapper: reads shares.
    """
    wanted = [(item, number, count) for item, count in asked for number in range(count)]
    pieces = [wanted[first : first + _TOGETHER] for first in range(0, len(wanted), _TOGETHER)]
    shares = chain.from_iterable(mapper(look_at_shares, pieces))
    for item, count in asked:
        yield _ranges(item, list(islice(shares, count)))


def look_at_shares(asked: list[tuple[Item, int, int]]) -> list[_Share | None]:
    """What shares of files show, each given as an item, the share's number and their count. None: as of
    ``line_ranges``."""
    return [_look(one) for one in asked]


def _look(asked: tuple[Item, int, int]) -> _Share | None:
    item, number, count = asked
    place = max(0, number * (item.size // count) - 1)  # the byte before a share tells whether a line begins with it
    end = (number + 1) * (item.size // count) - 1 if number + 1 < count else item.size
    ends, start, blank = 0, None, True
    try:
        with path_of(item).open("rb", buffering=0) as file:
            state = state_of(os.fstat(file.fileno()))
            if state[0] != item.size or (number == 0 and not _has_lines(item)):
                return None
            file.seek(place)
            while place < end and (data := file.read(min(_BUFFER, end - place))):
                if start is None and (found := data.find(b"\n")) >= 0:
                    start = place + found + 1
                blank = blank and data.isspace()
                ends += count_ends(data)
                place += len(data)
    except (OSError, DataError):
        return None
    return _Share(ends, start if number else 0, blank, state)


def _has_lines(item: Item) -> bool:
    """Whether its lines can be told by single bytes, and do not make up one document."""
    path = path_of(item)
    with path.open("rb") as file:
        is_wide = wide_encoding(file.read(4))
        file.seek(0)
        return not is_wide and not (may_be_document(path) and begins_document(file, _LONGEST))


def _ranges(item: Item, shares: Sequence[_Share | None]) -> list[LineRange] | None:
    seen = [share for share in shares if share is not None]
    if len(seen) < len(shares) or len({share.state for share in seen}) > 1 or all(share.blank for share in seen):
        return None
    found: list[LineRange] = []
    end, before = item.size, sum(share.ends for share in seen)
    for share in reversed(seen):
        before -= share.ends
        begin = end if share.start is None else share.start
        found.append(LineRange(begin, end, before + (begin > 0), share.state))
        end = begin
    return found[::-1]


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
