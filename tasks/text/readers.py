"""Rows and texts of users' files, one at a time and in bounded memory.

A reader yields what it could read and, in their place among the rest, what it could not: a malformed row is a value
(``Rejected``), never an exception. Only a whole file that cannot be opened raises, an OSError.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.text.compression import DAMAGED, as_utf8, open_plain
from tasks.text.decoding import decode_from, wide_encoding
from tasks.text.encodings import NotText, encoding_of, sample_of, stated_in
from tasks.text.formats import Format
from tasks.text.json_documents import NotOneDocument, begins_document, elements_of, may_be_document
from tasks.text.ranges import LineRange, open_range

_BATCH_ROWS, _BATCH_BYTES = 1_000, 16 << 20  # of a table in memory at once
_EXCERPT = 80
_PLAIN = frozenset({str, int, bool, type(None)})
_PARQUET_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
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


def read_rows(
    path: Path,
    file_format: Format,
    max_bytes: int,
    columns: list[str] | None = None,
    only: LineRange | None = None,
) -> Iterator[Row | Rejected]:
    """Rows of a JSON-lines or Parquet file. ``max_bytes`` bounds a row. ``columns`` limits what is read of a table, and
    ``only`` what is read of a file of lines."""
    return _parquet_rows(path, max_bytes, columns) if file_format == "parquet" else _json_rows(path, max_bytes, only)


def lines(stream: BinaryIO, max_bytes: int, before: int = 0) -> Iterator[tuple[int, bytes | Rejected]]:
    """Lines with their ends, numbered on from ``before``. A line above ``max_bytes`` is skipped without being held in
    memory."""
    number = before
    try:
        while line := stream.readline(max_bytes + 1):
            number += 1
            if len(line) <= max_bytes:
                yield number, line
                continue
            head, size = line[:_EXCERPT], len(line)
            while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
                size += len(line)
            reason = f"a line of {size:,} bytes is longer than max_document_bytes ({max_bytes:,})"
            yield number, Rejected(number, reason, excerpt_of(head), size)
    except DAMAGED as error:
        yield number + 1, Rejected(number + 1, f"the file is cut short or damaged after line {number}: {error}")


def _json_rows(path: Path, max_bytes: int, only: LineRange | None) -> Iterator[Row | Rejected]:
    if only is None and _is_document(path, max_bytes):
        yield from _document_rows(path, max_bytes)
        return
    stream, wide = (open_range(path, only), None) if only else opened(path)
    with stream:
        legacy = legacy_of(path, max_bytes)
        for number, line in lines(stream, max_bytes, only.before if only else 0):
            if isinstance(line, Rejected):
                yield line
            elif (fields := _plain_object(line)) is not None:
                yield Row(number, fields, len(line), wide)
            elif line.strip():
                yield from _unusual_rows(number, line, legacy, wide)


def _is_document(path: Path, max_bytes: int) -> bool:
    if not may_be_document(path):
        return False
    stream, _ = opened(path)
    with stream:
        return begins_document(stream, max_bytes)


def _document_rows(path: Path, max_bytes: int) -> Iterator[Row | Rejected]:
    stream, wide = opened(path)
    with stream:
        try:
            for line, fields, size, encoding in elements_of(stream, max_bytes):
                yield Row(line, fields, size, wide or encoding)
        except (NotOneDocument, *DAMAGED) as error:
            yield Rejected(None, f"not one JSON document, nor JSON lines: {error}", "", path.stat().st_size)


def _unusual_rows(number: int, line: bytes, legacy: Callable[[], str], wide: str | None) -> Iterator[Row | Rejected]:
    row = _unusual_row(number, line, legacy, wide)
    if isinstance(row, Rejected) and b"\r" in line.rstrip(b"\r\n"):  # the line ends of old Macintoshes
        yield from (_unusual_row(number, part, legacy, wide) for part in line.split(b"\r") if part.strip())
    else:
        yield row


def _unusual_row(number: int, line: bytes, legacy: Callable[[], str], wide: str | None) -> Row | Rejected:
    def rejected(reason: str) -> Rejected:
        return Rejected(number, reason, excerpt_of(line), len(line))

    try:
        text, encoding = decode_from(line, legacy)
        value = json.loads(text)
    except NotText as error:
        return rejected(str(error))
    except RecursionError:
        return rejected("nested too deeply")
    except ValueError as error:
        return rejected(f"not valid JSON: {error}")
    if isinstance(value, dict):
        return Row(number, value, len(line), wide or encoding)
    hint = "; write one object a line, not one array" if isinstance(value, list) else ""
    return rejected(f"not an object but {type(value).__name__}{hint}")


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


def _plain_object(line: bytes) -> dict[str, Any] | None:
    """What `json.loads` gives of an object in UTF-8 whose values are texts, whole numbers, truth values and null; None
    for everything else, which orjson reads otherwise or refuses, as it does most control characters."""
    if b"\x7f" in line or b"\xc2" in line:  # the other ones: whether there are too many, `decode` says
        return None
    try:
        value = orjson.loads(line)
    except ValueError:
        return None
    if type(value) is not dict or not _PLAIN.issuperset(map(type, value.values())):
        return None
    return value


def _parquet_rows(path: Path, max_bytes: int, columns: list[str] | None) -> Iterator[Row | Rejected]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            wanted = None if columns is None else [name for name in columns if name in present]
            for group in range(file.num_row_groups):
                begin = number
                try:
                    for batch in file.iter_batches(
                        _batch_rows(file, group), [group], wanted or None, use_threads=False
                    ):
                        for fields in batch.to_pylist():
                            number += 1
                            yield checked_row(number, fields, max_bytes)
                except _PARQUET_DAMAGE as error:
                    yield _damaged(number, error)
                number = begin + file.metadata.row_group(group).num_rows
    except _PARQUET_DAMAGE as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        yield _damaged(number, error)


def _damaged(number: int, error: Exception) -> Rejected:
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return Rejected(number + 1, f"the Parquet file is damaged after row {number}: {first_line}")


def _batch_rows(file: pq.ParquetFile, group: int) -> int:
    """Rows to read at once, so that long texts take no more memory than short ones."""
    about = file.metadata.row_group(group)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * about.num_rows // max(about.total_byte_size, 1)))


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
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DAMAGED as error:
        return Rejected(None, f"the file is cut short or damaged: {error}")
    if len(data) > max_bytes:
        return Rejected(None, f"longer than max_document_bytes ({max_bytes:,})", excerpt_of(data), len(data))
    try:
        text, encoding = _decoded_page(data) if is_html else decode_from(data)
    except NotText as error:
        return Rejected(None, str(error), excerpt_of(data), len(data))
    return Passage(1, text.count("\n") + 1, newlines(text), whole=True, encoding=encoding)


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
