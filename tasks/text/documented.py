"""Documented objects of many Python files, remembered, so that two stages need not parse the same files twice.

Remembered in ``home()/cache/documented``, under the digest of the files and of the parser: only a speed-up, never a
source of truth. Removing the folder costs the time to parse again.
"""

import contextlib
import gc
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.home import home
from tasks.text import docstrings
from tasks.text.docstrings import DocumentedObject
from tasks.text.items import Item, read_item
from tasks.text.packages import module_name

_SCHEMA = pa.schema(
    [
        ("file", pa.int32()),
        ("qualname", pa.string()),
        ("kind", pa.string()),
        ("arguments", pa.string()),
        ("parameters", pa.list_(pa.string())),
        ("docstring", pa.large_string()),
    ]
)
_FAILED = "failed"  # in place of a kind: the file could not be parsed, for the reason in `docstring`


@dataclass(frozen=True)
class ParsedFile:
    """What a Python file documents, or why it could not be parsed."""

    objects: tuple[DocumentedObject, ...]
    failure: str | None


def module_of(item: Item) -> str:
    """Dotted name of the module in a ``pypi://`` item."""
    name = module_name(unquote(item.uri.split("/", 4)[4]))
    assert name is not None
    return name


def documented(items: Sequence[Item]) -> list[ParsedFile]:
    """What each of some Python files documents. Raises DataError if a file has changed since the snapshot."""
    place = _place(items)
    try:
        table = pq.read_table(place)
        return _unpack(table, len(items))
    except (OSError, pa.ArrowException):  # not there, or damaged: parse
        with _no_garbage_collection():
            found = [_parse(item) for item in items]
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):  # a full disk must not end the work: it goes on without remembering
        pq.write_table(_pack(found), temporary, compression="zstd", compression_level=1)
        temporary.replace(place)
    temporary.unlink(missing_ok=True)
    return found


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees have millions of nodes and no cycles: looking for cycles among them takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse(item: Item) -> ParsedFile:
    source = read_item(item)
    if b'"' not in source and b"'" not in source:
        return ParsedFile((), None)
    try:
        return ParsedFile(tuple(docstrings.documented_objects(source, module_of(item))), None)
    except SyntaxError as error:
        return ParsedFile((), f"not valid Python {sys.version_info[0]}.{sys.version_info[1]}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return ParsedFile((), f"cannot be parsed as Python: {error or type(error).__name__}")


@cache
def _parser_digest() -> str:
    content = Path(docstrings.__file__).read_bytes() + Path(__file__).read_bytes()
    return hashlib.sha256(content + sys.version.encode()).hexdigest()


def _place(items: Sequence[Item]) -> Path:
    key = hashlib.sha256(_parser_digest().encode())
    for item in items:
        key.update(f"{module_of(item)}\0{item.sha256}\n".encode())
    return home() / "cache" / "documented" / f"{key.hexdigest()}.parquet"


def _pack(files: list[ParsedFile]) -> pa.Table:
    rows = []
    for index, file in enumerate(files):
        if file.failure is not None:
            rows.append({"file": index, "qualname": "", "kind": _FAILED, "docstring": file.failure})
        for item in file.objects:
            rows.append({
                "file": index, "qualname": item.qualname, "kind": item.kind, "arguments": item.arguments,
                "parameters": list(item.parameters), "docstring": item.docstring,
            })  # fmt: skip
    return pa.Table.from_pylist(rows, _SCHEMA)


def _unpack(table: pa.Table, num_files: int) -> list[ParsedFile]:
    objects: list[list[DocumentedObject]] = [[] for _ in range(num_files)]
    failures: list[str | None] = [None] * num_files
    for row in table.to_pylist():
        index = row.pop("file")
        if row["kind"] == _FAILED:
            failures[index] = row["docstring"]
        else:
            objects[index].append(DocumentedObject(**{**row, "parameters": tuple(row["parameters"])}))
    return [ParsedFile(tuple(found), failure) for found, failure in zip(objects, failures, strict=True)]
