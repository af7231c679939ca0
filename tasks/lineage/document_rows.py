"""Single documents read from an output's tables, found by an index and not by reading the tables through."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.lineage import columns as columns_of
from tasks.lineage.fates import BATCH_ROWS, LEDGER, TABLES, Fates, holding_tables, id_column, index_path
from tasks.lineage.sorted_ids import Ids, SortedIds, all_places, in_order, keep_index, open_index, short_ids
from tasks.lineage.store import Store

_PLACES = "places"


def documents_in(store: Store, digest: str, ids: Ids, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of an output's documents with one of the short `ids`: {"id", and those of `columns` the table has}.

    The first such question to an output sorts its ids, as fates.py does, into `<digest>.places`.
    """
    folder = store.object_path(digest)
    paths = holding_tables(folder)
    if not paths:
        return
    index = open_index(index_path(store, digest, _PLACES)) or _make(index_path(store, digest, _PLACES), paths)
    section, first = index.sections[TABLES], 0
    numbers = np.sort(section.numbers[all_places(section, ids)].astype(np.int64))
    for name, count in index.header["tables"]:
        rows = numbers[(numbers >= first) & (numbers < first + count)] - first
        first += count
        if len(rows):
            yield from rows_of(folder / name, rows, columns)


def ledger_rows(store: Store, fates: Fates, ids: Ids, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """As `documents_in`, of the output's ledger."""
    rows = fates.ledger_rows(ids)
    path = store.object_path(fates.digest) / LEDGER
    if len(rows) and path.is_file():
        yield from rows_of(path, rows, columns)


def rows_of(path: Path, rows: NDArray[np.int64], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows (N,), rising, of a table of documents; only the row groups that hold one are read."""
    with pq.ParquetFile(path, memory_map=True) as file:
        names = file.schema_arrow.names
        identity = id_column(names)
        assert identity is not None
        wanted = [identity, *(name for name in columns if name in names and name != identity)]
        first = 0
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            here = rows[(rows >= first) & (rows < end)]
            if len(here):
                for batch in file.iter_batches(BATCH_ROWS, [group], wanted, use_threads=False):
                    inside = here[(here >= first) & (here < first + batch.num_rows)] - first
                    for row in batch.take(columns_of.integers(inside)).to_pylist() if len(inside) else ():
                        yield {"id": row[identity], **row}
                    first += batch.num_rows
            first = end


def _make(path: Path, tables: list[Path]) -> SortedIds:
    counts = [(table.name, pq.read_metadata(table).num_rows) for table in tables]
    total, begin = sum(count for _, count in counts), 0
    ids = np.empty(total, np.uint64)
    for table in tables:
        with pq.ParquetFile(table) as file:
            identity = id_column(file.schema_arrow.names)
            assert identity is not None
            for batch in file.iter_batches(BATCH_ROWS, columns=[identity], use_threads=False):
                ids[begin : begin + batch.num_rows] = short_ids(batch[identity])
                begin += batch.num_rows
    section = in_order(ids, np.arange(total, dtype=np.uint32), np.zeros(total, np.uint8))
    return keep_index(path, {"labels": [], "tables": counts}, {TABLES: section})
