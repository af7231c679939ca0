"""Reading and writing a corpus: Parquet files of documents, in batches whose size is bounded in bytes.

The same rows in the same batches give the same bytes, so that two runs can be compared by digest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.lineage.writeback import begin_writing

# Where a document was read: the file (its URI, and its digest then), the place in it, and what the collector of a web
# archive says of the record: when it was fetched, and its digest.
COLLECTED_FROM = pa.struct(
    [
        ("file", pa.string()),
        ("sha256", pa.string()),
        ("place", pa.string()),
        ("date", pa.string()),
        ("digest", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("license", pa.string()),
        ("kind", pa.string()),
        ("language", pa.string()),
        ("collector", pa.string()),
        ("split", pa.string()),
        ("collected_from", COLLECTED_FROM),
    ]
)
BATCH_BYTES = 4 << 20  # text worked on at once: large enough for numpy, small enough for cache and memory
BATCH_ROWS = 8192
PIECE_BYTES = 16 << 20  # text in one file, which a worker reads and writes by itself: small enough that all have some
LEFT_PIECES = 8  # a piece is no more than one part in so many of what is left, unless that is less than a batch
REPETITIVE = [  # columns that say the same again and again; a dictionary of all other values would only be larger
    *("source", "origin", "license", "kind", "language", "collector", "split"),
    *(f"collected_from.{name}" for name in ("file", "sha256", "date", "digest")),
]
PARQUET: dict[str, Any] = {  # a page a column: row groups are small, and so are read sooner
    "compression": "zstd", "compression_level": 1, "use_dictionary": REPETITIVE, "data_page_size": 1 << 30,
    "write_statistics": ["doc_id"],  # by which documents are looked up
}  # fmt: skip


def shard_paths(directory: Path) -> list[Path]:
    """The document files of a corpus, in order."""
    return sorted(directory.glob("documents-*.parquet"))


def count_documents(directory: Path) -> int:
    """Documents in a corpus, by the files' metadata alone."""
    return sum(pq.read_metadata(path).num_rows for path in shard_paths(directory))


def count_bytes(directory: Path) -> int:
    """Bytes of text in a corpus, about, by the files' metadata alone."""
    return sum(group.size for group in row_groups(directory))


def slices_by_bytes(table: pa.Table, batch_bytes: int) -> Iterator[pa.Table]:
    """Cut a table in pieces of at most `batch_bytes` of text; a longer text is a piece of its own."""
    ends = np.cumsum(pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy())
    begin = held = 0
    while begin < len(ends):
        end = max(int(np.searchsorted(ends, held + batch_bytes, side="right")), begin + 1)
        yield table.slice(begin, end - begin)
        begin, held = end, int(ends[end - 1])


@dataclass(frozen=True)
class RowGroup:
    """Documents of a corpus that lie together: some megabytes, which a worker sooner reads than is sent.

    size: bytes of text, about. batch_bytes: as of `read_corpus`.
    """

    path: Path
    number: int
    rows: int
    size: int
    batch_bytes: int

    def read(self, columns: list[str], as_numbers: Iterable[str] = ()) -> pa.Table:
        """Some columns of them; as_numbers: those of which each value is the number of one in a dictionary."""
        with pq.ParquetFile(self.path, read_dictionary=list(as_numbers), pre_buffer=False) as file:
            return file.read_row_group(self.number, columns, use_threads=False)

    def tables(self) -> Iterator[pa.Table]:
        """As `read_corpus`, of these documents."""
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            yield from _tables(file, self.number, None, self.batch_bytes)


@dataclass(frozen=True)
class Piece:
    """Row groups that follow one another, of which a worker makes the output's file of this number."""

    number: int
    groups: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """Documents in it."""
        return sum(group.rows for group in self.groups)

    def tables(self) -> Iterator[pa.Table]:
        """As `read_corpus`, of these documents."""
        return chain.from_iterable(group.tables() for group in self.groups)


def row_groups(directory: Path) -> Iterator[RowGroup]:
    """All documents, in order."""
    text = SCHEMA.get_field_index("text")
    for path in shard_paths(directory):
        file = pq.read_metadata(path)
        for number in range(file.num_row_groups):
            group = file.row_group(number)
            yield RowGroup(path, number, group.num_rows, group.column(text).total_uncompressed_size, BATCH_BYTES)


def pieces(directory: Path) -> Iterator[Piece]:
    """All documents in pieces of PIECE_BYTES or a little more, the last of them ever smaller, so that all workers end
    at about the same time. They depend on the corpus alone."""
    groups = list(row_groups(directory))
    left = sum(group.size for group in groups)
    number, held, size = 0, [], 0
    for group in groups:
        held.append(group)
        size += group.size
        if size >= min(PIECE_BYTES, max(BATCH_BYTES, left / LEFT_PIECES)):
            yield Piece(number, tuple(held))
            left -= size
            number, held, size = number + 1, [], 0
    if held:
        yield Piece(number, tuple(held))


def read_corpus(
    directory: Path, columns: list[str] | None = None, batch_bytes: int | None = None
) -> Iterator[pa.Table]:
    """Documents in order, `batch_bytes` of text (default: BATCH_BYTES) at a time. `columns` must include "text" if
    given."""
    for path in shard_paths(directory):
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for number in range(file.num_row_groups):
                yield from _tables(file, number, columns, batch_bytes or BATCH_BYTES)


def _tables(file: pq.ParquetFile, group: int, columns: list[str] | None, batch_bytes: int) -> Iterator[pa.Table]:
    for batch in file.iter_batches(BATCH_ROWS, [group], columns, use_threads=False):
        for piece in slices_by_bytes(pa.Table.from_batches([batch]), batch_bytes):
            few = 2 * piece.num_rows < batch.num_rows  # a slice is sent to a worker with all it was cut from
            yield piece.take(pa.array(np.arange(piece.num_rows))) if few else piece


class CorpusWriter:
    """Writes documents-00000.parquet and so on; a new file after PIECE_BYTES of text.

    workers: with several, files are compressed and written in as many threads, each from its first row group on.
    piece: write the file of this number alone, however large.
    """

    def __init__(self, directory: Path, workers: int = 1, piece: Piece | None = None) -> None:
        self._directory = directory
        self._workers = workers
        self._threads = ThreadPoolExecutor(workers) if workers > 1 else None
        self._writing: deque[Future[None]] = deque()  # of each file that is not known to be complete
        self._number = piece.number if piece else 0
        self._limit = math.inf if piece else PIECE_BYTES
        self._batch_bytes = piece.groups[0].batch_bytes if piece else BATCH_BYTES
        self._file: _File | _FileBehind | None = None
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self.documents = self.bytes = 0

    def write(self, table: pa.Table) -> None:
        """Append documents (columns as in `SCHEMA`; null where one is not given)."""
        if not table.num_rows:
            return
        size = pc.sum(pc.binary_length(table["text"])).as_py() or 0
        self.documents += table.num_rows
        self.bytes += size
        for missing in [field for field in SCHEMA if field.name not in table.column_names]:
            table = table.append_column(missing, pa.nulls(table.num_rows, missing.type))
        self._pending.append(table.select(SCHEMA.names).cast(SCHEMA))
        self._pending_bytes += size
        if self._pending_bytes >= self._batch_bytes:
            self._flush()

    def _flush(self) -> None:
        """Let the documents that wait be a row group."""
        if not self._pending:
            return
        group, size = pa.concat_tables(self._pending), self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        file = self._file = self._file or self._begin()
        file.size += size
        file.put(group)
        if file.size >= self._limit:
            self._finish()

    def _begin(self) -> _File | _FileBehind:
        path = self._directory / f"documents-{self._number:05d}.parquet"
        self._number += 1
        if self._threads is None:
            return _File(path)
        file = _FileBehind(path)
        self._writing.append(self._threads.submit(file.write))
        return file

    def _finish(self) -> None:
        """End the file, if there is one."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
        while len(self._writing) > self._workers:  # so memory is bounded
            self._writing.popleft().result()

    def close(self) -> None:
        """Finish the last file."""
        try:
            self._flush()
        finally:
            self._finish()
            if self._threads is not None:
                self._threads.shutdown()
        for writing in self._writing:
            writing.result()

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _File:
    """One file of a corpus. size: bytes of text in it."""

    def __init__(self, path: Path) -> None:
        self._path, self.size = path, 0
        self._writer = pq.ParquetWriter(path, SCHEMA, **PARQUET)

    def put(self, group: pa.Table) -> None:
        """Write a row group."""
        self._writer.write_table(group)

    def close(self) -> None:
        """End the file."""
        self._writer.close()
        begin_writing(self._path)


class _FileBehind:
    """The same, where another thread writes what is put."""

    def __init__(self, path: Path) -> None:
        self._path, self.size = path, 0
        self._groups: SimpleQueue[pa.Table | None] = SimpleQueue()  # None: the end

    def put(self, group: pa.Table) -> None:
        """Let the other thread write a row group."""
        self._groups.put(group)

    def write(self) -> None:
        """What the other thread does, until the file is closed."""
        with closing(_File(self._path)) as file:
            while (group := self._groups.get()) is not None:
                file.put(group)

    def close(self) -> None:
        """Let the other thread end the file."""
        self._groups.put(None)
