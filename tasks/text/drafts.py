"""What one worker makes of one part of a snapshot: a file of drafts, complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.lineage.errors import is_full
from tasks.lineage.writeback import begin_writing
from tasks.text.compression import UNREADABLE
from tasks.text.documents import Draft, Limits, PlainRows, rejected_draft
from tasks.text.draft_file import SCHEMA, DraftWriter
from tasks.text.file_documents import file_documents
from tasks.text.items import Item, ItemChanged, Part
from tasks.text.machine_code import pays
from tasks.text.package_documents import package_documents
from tasks.text.ranges import LineRange
from tasks.text.readers import Rejected
from tasks.text.shards import COLLECTED_FROM, shard_paths
from tasks.text.shards import SCHEMA as CORPUS

_HELD_BYTES = 8 << 20  # of text before it is written out
_HELD_ROWS = 8192


@dataclass(frozen=True)
class Segment:
    """Consecutive rows of a file of drafts."""

    file: Path
    first: int
    rows: int


@dataclass(frozen=True)
class DraftTask:
    """One part to read, and where to put what it holds. only: of its one item, these lines."""

    part: Part
    limits: Limits
    file: Path
    only: LineRange | None = None

    @property
    def size(self) -> int:
        return self.only.end - self.only.begin if self.only else sum(item.size for item in self.part.items)


@dataclass(frozen=True)
class Drafted:
    """Where the drafts of one item lie. changed: it was no longer what the snapshot saw, or could
    not be read this time, and is in quarantine."""

    segment: Segment
    changed: bool = False


def write_drafts(task: DraftTask) -> list[Drafted]:
    """Read a part. Gives where each of its items lies in ``task.file``."""
    temporary = task.file.with_suffix(f".{os.getpid()}.tmp")
    found: list[Drafted] = []
    with _Writer(temporary) as writer:
        for item, drafts in _of_items(task):
            first, changed = writer.rows, False
            for draft in _guarded(drafts, item):
                if isinstance(draft, _Unread):
                    changed = draft.changed
                    first = writer.rows if draft.anew else first  # what was read of it counts for nothing
                    draft = draft.instead
                writer.add(draft, item)
            found.append(Drafted(Segment(task.file, first, writer.rows - first), changed))
    temporary.replace(task.file)
    begin_writing(task.file)
    return found


@dataclass(frozen=True)
class _Unread:
    """What stands in place of the rest of an item, or if ``anew`` of all of it. changed: as in ``Drafted``."""

    instead: Draft
    changed: bool
    anew: bool


def _guarded(drafts: Iterator[Draft | PlainRows], item: Item) -> Iterator[Draft | PlainRows | _Unread]:
    """The same, with an end where the item turns out to be changed or unreadable."""
    blank = Draft("", item.uri, item.origin, item.license, item.kind, item.split)
    try:
        yield from drafts
    except ItemChanged as error:
        yield _Unread(rejected_draft(blank, Rejected(None, error.how, size=item.size)), changed=True, anew=True)
    except UNREADABLE as error:
        if is_full(error):
            raise
        reason = f"cannot be read, or not to its end: {type(error).__name__}: {error}"
        unread = rejected_draft(blank, Rejected(None, reason, size=item.size))
        yield _Unread(unread, changed=isinstance(error, OSError), anew=False)


def _of_items(task: DraftTask) -> Iterator[tuple[Item, Iterator[Draft | PlainRows]]]:
    if task.part.source.kind == "packages":
        yield from zip(task.part.items, package_documents(task.part, task.limits), strict=True)
    else:
        compiled = pays(sum(item.size for item in task.part.items))
        for item in task.part.items:
            yield item, file_documents(item, task.part.source, task.limits, task.only, compiled)


class _Writer:
    """Writes drafts, a few megabytes at a time."""

    def __init__(self, path: Path) -> None:
        self._file = DraftWriter(path)
        self._held: list[tuple[Draft, Item]] = []
        self._tables: list[pa.Table] = []  # of what came before
        self._rows = self._size = 0
        self.rows = 0

    def add(self, draft: Draft | PlainRows, item: Item) -> None:
        if isinstance(draft, Draft):
            self._held.append((draft, item))
            self._size += len(draft.text)
            rows = 1
        else:
            self._settle()
            self._tables.append(plain_table(draft, item))
            self._size += draft.num_bytes
            rows = len(draft)
        self._rows += rows
        self.rows += rows
        if self._size >= _HELD_BYTES or self._rows >= _HELD_ROWS:
            self._flush()

    def _settle(self) -> None:
        if self._held:
            self._tables.append(_table(self._held))
            self._held = []

    def _flush(self) -> None:
        self._settle()
        if self._tables:
            self._file.write(pa.concat_tables(self._tables))
        self._tables, self._rows, self._size = [], 0, 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.close()


def take_drafts(corpus: Path, folder: Path) -> list[Segment]:
    """The documents of an adopted corpus as drafts, read already; which side of the split they fall on is open."""
    segments = []
    for number, shard in enumerate(shard_paths(corpus)):
        file = folder / f"adopted-{number:06d}.drafts"
        draft = file.with_suffix(".tmp")
        rows = 0
        with pq.ParquetFile(shard) as read, closing(DraftWriter(draft)) as writer:
            for batch in read.iter_batches(_HELD_ROWS, use_threads=False):
                table = pa.Table.from_batches([batch])
                known = {name: table[name] for name in CORPUS.names if name in table.column_names and name != "split"}
                known["bytes_in"] = pc.cast(pc.binary_length(table["text"]), pa.int64())
                rows += table.num_rows
                writer.write(pa.table([
                    known[field.name] if field.name in known else pa.nulls(table.num_rows, field.type)
                    for field in SCHEMA
                ], SCHEMA.names).cast(SCHEMA))  # fmt: skip
        draft.replace(file)
        segments.append(Segment(file, 0, rows))
    return segments


def plain_table(rows: PlainRows, item: Item) -> pa.Table:
    """Plain rows of an item as a table."""
    count, blank, texts, reasons = len(rows), rows.blank, rows.texts, rows.reasons
    same = {"source": blank.source, "license": blank.license, "kind": blank.kind, "split": blank.split, "collector": ""}
    columns = {name: pa.repeat(pa.scalar(value, pa.string()), count) for name, value in same.items()}
    where = {"file": item.uri, "sha256": item.sha256, "date": None, "digest": None}
    known = {name: pa.repeat(pa.scalar(value, pa.string()), count) for name, value in where.items()}
    known["place"] = rows.places
    unfit = pc.is_valid(reasons)
    columns |= {
        "doc_id": rows.doc_ids,
        "text": pc.if_else(unfit, pa.scalar(None, pa.large_string()), texts) if reasons.null_count < count else texts,
        "origin": rows.origins,
        "collected_from": pa.StructArray.from_arrays(
            [known[field.name] for field in COLLECTED_FROM], fields=list(COLLECTED_FROM)
        ),
        "reason": reasons,
        "bytes_in": pc.cast(pc.binary_length(texts), pa.int64()),
    }
    return pa.table([
        columns[field.name] if field.name in columns else pa.nulls(count, field.type) for field in SCHEMA
    ], SCHEMA)  # fmt: skip


def _table(held: list[tuple[Draft, Item]]) -> pa.Table:
    """Drafts as a table; made by columns, since making it of rows takes far longer."""
    drafts = [draft for draft, _ in held]
    rejected = [draft.rejected for draft in drafts]
    collected_from = {
        "file": [item.uri for _, item in held],
        "sha256": [item.sha256 for _, item in held],
        "place": [draft.place for draft in drafts],
        "date": [draft.date for draft in drafts],
        "digest": [draft.digest for draft in drafts],
    }
    columns: dict[str, Any] = {
        "doc_id": [draft.doc_id for draft in drafts],
        "text": [None if draft.reason else draft.text for draft in drafts],
        "source": [draft.source for draft in drafts],
        "origin": [draft.origin for draft in drafts],
        "license": [draft.license for draft in drafts],
        "kind": [draft.kind for draft in drafts],
        "language": [draft.language for draft in drafts],
        "collector": [""] * len(drafts),  # the stage knows which source a part belongs to
        "split": [draft.split for draft in drafts],
        "collected_from": pa.StructArray.from_arrays(
            [pa.array(values, pa.string()) for values in collected_from.values()], list(collected_from)
        ),
        "reason": [draft.reason for draft in drafts],
        "bytes_in": [draft.size or len(draft.text.encode()) for draft in drafts],
        "line": [one and one.line for one in rejected],
        "rejected": [one and one.reason for one in rejected],
        "excerpt": [one and one.excerpt for one in rejected],
        "encoding": [draft.encoding for draft in drafts],
    }
    return pa.table(columns, SCHEMA)
