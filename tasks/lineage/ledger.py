"""The document ledger: one row per document a data stage saw, saying what became of it and why.

The invariant, checked on closing: documents in = documents kept + Σ documents dropped by reason.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.lineage.errors import LedgerError
from tasks.lineage.parallel import Behind

SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("language", pa.string()),  # null where nothing has told it yet
        pa.field("decision", pa.string(), nullable=False),  # KEPT or DROPPED
        pa.field("reason", pa.string()),  # why it was dropped; null exactly if kept
        pa.field("duplicate_of", pa.string()),  # doc_id of the document kept in its place
        pa.field("bytes_in", pa.int64(), nullable=False),
        pa.field("bytes_out", pa.int64(), nullable=False),
    ]
)


REPETITIVE = ["source", "license", "language", "decision", "reason"]  # columns that say the same again and again
KEPT, DROPPED = "kept", "dropped"
GIVEN = [name for name in SCHEMA.names if name != "decision"]  # what a stage gives; the reason decides


@dataclass(frozen=True)
class LedgerCounts:
    """What a ledger adds up to. `dropped`: reason → documents."""

    documents_in: int
    documents_kept: int
    dropped: dict[str, int]

    @property
    def documents_dropped(self) -> int:
        return sum(self.dropped.values())

    def metrics(self) -> dict[str, float]:
        """The figures every data stage logs: documents_in, documents_kept, documents_dropped, dropped/<reason>."""
        totals = {
            "documents_in": self.documents_in,
            "documents_kept": self.documents_kept,
            "documents_dropped": self.documents_dropped,
        }
        return {**totals, **{f"dropped/{reason}": count for reason, count in sorted(self.dropped.items())}}


class Ledger:
    """Writes a ledger as a stream of tables, so that memory stays bounded by one table.

    `documents_in` is the count from the stage's own input; without it the rows themselves are the count. workers: with
    several, tables are compressed and written in a thread while the next is being made.
    The bytes depend on the tables given and their order, on nothing else.
    """

    def __init__(self, path: Path, documents_in: int | None = None, workers: int = 1) -> None:
        self._expected = documents_in
        self._behind = Behind(workers)
        self._rows = 0
        self._kept = 0
        self._dropped: Counter[str] = Counter()
        self._writer = pq.ParquetWriter(
            path, SCHEMA, compression="zstd", compression_level=1, use_dictionary=REPETITIVE
        )

    def add_table(self, table: pa.Table) -> None:
        """Append rows; columns as in GIVEN, in any order. What has a reason is dropped, the rest is kept.

        Raises LedgerError if a column is missing.
        """
        missing = [name for name in GIVEN if name not in table.column_names]
        if missing:
            raise LedgerError(f"the ledger table lacks the columns {', '.join(missing)}; give every column of GIVEN")
        kept = pc.is_null(table["reason"])
        table = table.select(GIVEN).append_column("decision", pc.if_else(kept, KEPT, DROPPED))
        self._behind(self._writer.write_table, table.select(SCHEMA.names).cast(SCHEMA))
        self._rows += table.num_rows
        self._kept += pc.sum(kept).as_py() or 0
        for entry in table["reason"].drop_null().value_counts().to_pylist():
            self._dropped[entry["values"]] += entry["counts"]

    def close(self) -> LedgerCounts:
        """Finish the file. Raises LedgerError unless documents in = kept + Σ dropped."""
        self._end()
        counts = LedgerCounts(
            self._rows if self._expected is None else self._expected, self._kept, dict(sorted(self._dropped.items()))
        )
        accounted = counts.documents_kept + counts.documents_dropped
        if counts.documents_in != accounted:
            raise LedgerError(
                f"{counts.documents_in} documents came in, but the ledger accounts for {accounted} "
                f"({counts.documents_kept} kept, {counts.documents_dropped} dropped); "
                "add a row for each document exactly once"
            )
        return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        try:
            self._behind.close()
        finally:
            self._writer.close()
