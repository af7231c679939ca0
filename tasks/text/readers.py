"""Lines and texts of users' files in bounded memory, and what a reader gives of them.

A reader yields what it could read and, in their place among the rest, what it could not: a malformed row is a value
(``Rejected``), never an exception. Only a whole file that cannot be opened raises, an OSError.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from tasks.text.compression import DAMAGED, as_utf8, is_compressed, open_plain
from tasks.text.decoding import decode_from, wide_encoding
from tasks.text.encodings import NotText, encoding_of, sample_of, stated_in

_EXCERPT = 80
_BLOCK = 1 << 17  # bytes of lines read at once: few enough to stay in the processor's cache until they are parsed
_START = 4096  # bytes that tell binary data from text


@dataclass(frozen=True)
class Rejected:
    """What could not be read. ``line`` counts lines, or rows of a table, from 1."""

    line: int | None
    reason: str
    excerpt: str = ""
    size: int = 0


@dataclass(slots=True)
class Row:
    """An object of a JSON line, or a row of a table."""

    line: int
    fields: dict[str, Any]
    size: int
    encoding: str | None = None  # None: UTF-8


@dataclass(frozen=True)
class Passage:
    """Text of the lines ``first`` to ``last`` of a file."""

    first: int
    last: int
    text: str
    whole: bool
    encoding: str | None = None  # None: UTF-8


def lines(stream: BinaryIO, max_bytes: int, before: int = 0) -> Iterator[tuple[int, bytes | Rejected]]:
    """Lines with their ends, numbered on from ``before``. A line above ``max_bytes`` is skipped without being held in
    memory."""
    for number, block in blocks(stream, max_bytes, before):
        if isinstance(block, Rejected):
            yield number, block
        else:
            yield from lines_of(block, number, max_bytes)


def blocks(stream: BinaryIO, max_bytes: int, before: int = 0) -> Iterator[tuple[int, bytes | Rejected]]:
    """The same, many whole lines at once, with the number of the first: ``lines_of`` tells which are too long."""
    read = cast(io.BufferedIOBase, stream).read1  # never fails with something in hand, as it would if asked for more
    number = before + 1
    whole, begun = _Pieces(), _Pieces()  # lines that are not given yet, and the beginning of the next one
    try:
        piece = read()
        while piece:
            if end := piece.rfind(b"\n") + 1:
                whole.add(begun.joined())
                whole.add(memoryview(piece)[:end])
            begun.add(memoryview(piece)[end:])
            is_overlong = begun.size > max_bytes
            if whole.size >= _BLOCK or (whole.size and is_overlong):
                block = whole.joined()
                yield number, block
                number += count_ends(block)
            rest = b""
            if is_overlong:
                start, number = begun.joined(), number + 1
                size, rest = _skip_line(read, len(start))
                yield number - 1, _overlong(number - 1, start, size, max_bytes)
            piece = rest or read()
        if whole.size or begun.size:
            yield number, whole.joined() + begun.joined()
    except DAMAGED as error:
        if whole.size:
            block = whole.joined()
            yield number, block
            number += count_ends(block)
        yield number, Rejected(number, f"the file is cut short or damaged after line {number - 1}: {error}")


class _Pieces:
    """Bytes that come piece by piece, each copied only once."""

    def __init__(self) -> None:
        self._held: list[bytes | memoryview] = []
        self.size = 0

    def add(self, piece: bytes | memoryview) -> None:
        self._held.append(piece)
        self.size += len(piece)

    def joined(self) -> bytes:
        """All of them, which it no longer holds."""
        joined = b"".join(self._held)
        self._held, self.size = [], 0
        return joined


def _skip_line(read: Callable[[], bytes], size: int) -> tuple[int, bytes]:
    """The size of a line of which so much was read, and what was read of the next ones."""
    while piece := read():
        if end := piece.find(b"\n") + 1:
            return size + end, piece[end:]
        size += len(piece)
    return size, b""


def count_ends(data: bytes) -> int:
    """Line ends in data, which numpy counts some times faster than ``data.count``."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))


def lines_of(block: bytes, first: int, max_bytes: int) -> Iterator[tuple[int, bytes | Rejected]]:
    """The lines of a block, numbered on from ``first``."""
    for number, line in enumerate(io.BytesIO(block), first):
        yield number, line if len(line) <= max_bytes else _overlong(number, line, len(line), max_bytes)


def _overlong(number: int, start: bytes, size: int, max_bytes: int) -> Rejected:
    reason = f"a line of {size:,} bytes is longer than max_document_bytes ({max_bytes:,})"
    return Rejected(number, reason, excerpt_of(start), size)


def opened(path: Path) -> tuple[BinaryIO, str | None]:
    """A file as a stream of bytes in UTF-8 or an encoding without a mark, and the encoding that its mark names."""
    stream = open_plain(path)
    try:
        wide = wide_encoding(start_of(stream))
    except DAMAGED:  # a stream that failed once ends: opened anew, it will say so where it is read
        stream.close()
        return open_plain(path), None
    if wide is None:
        return stream, None
    stream.read(len("\ufeff".encode(wide)))
    return as_utf8(stream, wide), wide


def legacy_of(path: Path, max_bytes: int) -> Callable[[], str]:
    """Tells the encoding of those lines of a file that are not UTF-8, by the first of them; looks when first asked."""

    @cache
    def told() -> str:
        stream, _ = opened(path)
        with stream:
            return encoding_of(sample_of(line for _, line in lines(stream, max_bytes) if isinstance(line, bytes)))

    return told


def checked_row(number: int, fields: dict[str, Any], max_bytes: int) -> Row | Rejected:
    """A row of a table, unless one of its texts is longer than ``max_bytes``."""
    for name, value in fields.items():
        if isinstance(value, str) and len(value) > max_bytes:
            reason = f"its field {name!r} is longer than max_document_bytes ({max_bytes:,})"
            return Rejected(number, reason, value[:_EXCERPT], len(value))
    return Row(number, fields, 0)


def read_whole(path: Path, max_bytes: int, is_html: bool = False) -> Passage | Rejected:
    """A file as one text. Rejected above ``max_bytes`` (after decompression), if damaged, or if it is not text.

    is_html: the page may state its encoding; it counts where the page is not UTF-8.
    """
    try:
        with open_plain(path) as stream:
            data = stream.read(max_bytes + 1)
            size = len(data) if len(data) <= max_bytes else _whole_size(path, stream, len(data))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DAMAGED as error:
        return Rejected(None, f"the file is cut short or damaged: {error}")
    if len(data) > max_bytes:
        return Rejected(None, f"longer than max_document_bytes ({max_bytes:,})", excerpt_of(data), size)
    try:
        text, encoding = _decoded_page(data) if is_html else decode_from(data)
    except NotText as error:
        return Rejected(None, str(error), excerpt_of(data), len(data))
    return Passage(1, text.count("\n") + 1, newlines(text), whole=True, encoding=encoding)


def _whole_size(path: Path, stream: BinaryIO, read: int) -> int:
    """The size after decompression of a file of which so much was read; up to the damage, if there is any."""
    if not is_compressed(path):
        return path.stat().st_size
    with suppress(*DAMAGED):
        while piece := stream.read(_BLOCK):
            read += len(piece)
    return read


def _decoded_page(data: bytes) -> tuple[str, str | None]:
    stated = stated_in(data)
    if stated is not None:
        with suppress(NotText):  # a page may state a wrong one
            return decode_from(data, lambda: stated)
    return decode_from(data)


def start_of(stream: BinaryIO) -> bytes:
    """The first bytes of a stream, which stay to be read. Raises one of DAMAGED."""
    return bytes(getattr(stream, "peek")(_START)[:_START])  # noqa: B009 (typing's BinaryIO has no peek)


def newlines(text: str) -> str:
    """Text with newlines alone as its line ends, and without a byte-order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def excerpt_of(data: bytes) -> str:
    """The beginning of what could not be read, to show to a person."""
    return data[:_EXCERPT].decode("utf-8", "replace").replace("\x00", "\ufffd").strip()
