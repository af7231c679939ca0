"""Rows of users' files of JSON lines and of Parquet, in bounded memory; what could not be read stands in its place."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.text.compression import DAMAGED
from tasks.text.decoding import decode_from
from tasks.text.encodings import NotText
from tasks.text.formats import Format
from tasks.text.json_documents import NotOneDocument, begins_document, elements_of, may_be_document
from tasks.text.ranges import LineRange, open_range
from tasks.text.readers import Rejected, Row, blocks, checked_row, excerpt_of, legacy_of, lines_of, opened

if TYPE_CHECKING:
    from tasks.text.json_columns import ColumnReader, Columns

_BATCH_ROWS, _BATCH_BYTES = 1_000, 16 << 20  # of a table in memory at once
_PLAIN = frozenset({str, int, bool, type(None)})
_C1 = re.compile(b"\xc2[\x80-\x9f]")  # the control characters from U+0080 on
_PARQUET_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class PlainLines:
    """Lines of a file from the line ``first`` on, (N,), each of which is an object in UTF-8 whose values are texts,
    whole numbers, truth values and null: ``objects``. lines: their bytes. columns: what was asked for of them, where
    machine code has read it (json_columns.py)."""

    first: int
    lines: bytes
    known: list[dict[str, Any]] | None = None
    columns: Columns | None = None

    @property
    def objects(self) -> list[dict[str, Any]]:
        """One a line."""
        found = _plain_objects(self.lines, len(self.lines)) if self.known is None else self.known
        assert found is not None, "what machine code takes for plain lines is no less than them"
        return found

    def rows(self) -> Iterator[Row]:
        """The same one by one."""
        for number, (fields, line) in enumerate(zip(self.objects, io.BytesIO(self.lines), strict=True), self.first):
            yield Row(number, fields, len(line))


def read_rows(
    path: Path,
    file_format: Format,
    max_bytes: int,
    columns: list[str] | None = None,
    only: LineRange | None = None,
) -> Iterator[Row | Rejected]:
    """Rows of a JSON-lines or Parquet file. ``max_bytes`` bounds a row. ``columns`` limits what is read of a table, and
    ``only`` what is read of a file of lines."""
    return one_by_one(read_rows_in_blocks(path, file_format, max_bytes, columns, only))


def one_by_one(found: Iterable[Row | Rejected | PlainLines]) -> Iterator[Row | Rejected]:
    """Rows that were read many at once."""
    for one in found:
        if isinstance(one, PlainLines):
            yield from one.rows()
        else:
            yield one


def read_rows_in_blocks(
    path: Path,
    file_format: Format,
    max_bytes: int,
    columns: list[str] | None = None,
    only: LineRange | None = None,
    reader: ColumnReader | None = None,
) -> Iterator[Row | Rejected | PlainLines]:
    """The same, many plain lines at once, and where possible as columns that ``reader`` reads."""
    if file_format == "parquet":
        return _parquet_rows(path, max_bytes, columns)
    return _json_rows(path, max_bytes, only, reader)


def _json_rows(
    path: Path, max_bytes: int, only: LineRange | None, reader: ColumnReader | None
) -> Iterator[Row | Rejected | PlainLines]:
    if only is None and _is_document(path, max_bytes):
        yield from _document_rows(path, max_bytes)
        return
    stream, wide = (open_range(path, only), None) if only else opened(path)
    with stream:
        legacy = legacy_of(path, max_bytes)
        for first, block in blocks(stream, max_bytes, only.before if only else 0):
            if isinstance(block, Rejected):
                yield block
            elif wide is None and reader is not None and (found := reader.read(block, max_bytes)) is not None:
                yield PlainLines(first, block, columns=found)
            elif wide is None and (objects := _plain_objects(block, max_bytes)) is not None:
                yield PlainLines(first, block, objects)
            else:
                yield from _rows_of_lines(lines_of(block, first, max_bytes), legacy, wide)


def _rows_of_lines(
    lines: Iterator[tuple[int, bytes | Rejected]], legacy: Callable[[], str], wide: str | None
) -> Iterator[Row | Rejected]:
    for number, line in lines:
        if isinstance(line, Rejected):
            yield line
        elif (fields := _plain_object(line)) is not None:
            yield Row(number, fields, len(line), wide)
        elif line.strip():
            yield from _unusual_rows(number, line, legacy, wide)


def _plain_objects(block: bytes, max_bytes: int) -> list[dict[str, Any]] | None:
    """What ``_plain_object`` gives of each line of a block, read at once; None if it gives None of one of them, or if
    one is longer than ``max_bytes``.

    The lines are read as one list with a 0 after each. No text holds a line end, and no container does if the elements
    are plain objects and zeros in turn. So each 0 stands after a line, and if there are no others, each line is one
    object.
    """
    end = block.find(b"\n") + 1 or len(block)
    first = _plain_object(block[:end])
    if first is None or _has_controls(block):
        return None
    if end == len(block):
        return [first] if end <= max_bytes else None
    lines = block if block.endswith(b"\n") else block + b"\n"
    joined = lines.replace(b"\n", b",0,\n")
    number = (len(joined) - len(lines)) // 3
    try:
        *found, _ = orjson.loads(b"".join((b"[", joined, b"0]")))
    except ValueError:
        return None
    objects = found[::2]
    if len(found) != 2 * number or any(found[1::2]) or {*map(type, objects)} != {dict}:
        return None
    if not _PLAIN.issuperset(map(type, chain.from_iterable(map(dict.values, objects)))):
        return None
    if len(block) > max_bytes and max(map(len, io.BytesIO(block))) > max_bytes:
        return None
    return objects


def _plain_object(line: bytes) -> dict[str, Any] | None:
    """What `json.loads` gives of an object in UTF-8 whose values are texts, whole numbers, truth values and null; None
    for everything else, which orjson reads otherwise or refuses, as it does most control characters."""
    if _has_controls(line):  # whether there are too many, `decode` says
        return None
    try:
        value = orjson.loads(line)
    except ValueError:
        return None
    if type(value) is not dict or not _PLAIN.issuperset(map(type, value.values())):
        return None
    return value


def _has_controls(data: bytes) -> bool:
    """Whether there are control characters that orjson would take."""
    return b"\x7f" in data or (b"\xc2" in data and _C1.search(data) is not None)


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
