"""One side of a comparison of documents: which an output holds, and what the outputs before it say of them.

Documents are known by their short ids (sorted_ids.py) in rising order; what is said of N documents is an array (N,).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from tasks.lineage.ancestry import ancestors, in_order
from tasks.lineage.document_rows import documents_in
from tasks.lineage.fates import BATCH_ROWS, Fates, fates_of, id_column
from tasks.lineage.record import Record
from tasks.lineage.sorted_ids import Ids, short_ids
from tasks.lineage.store import Store

INDEX = "index.parquet"  # tells how many tokens each document has
COLUMNS = ("source", "origin", "license")
UNKNOWN = "unknown"
NOTHING = np.zeros(0, np.uint64)


@dataclass
class Side:
    """An output of documents. notes: what could not be told."""

    store: Store
    record: Record
    notes: list[str] = field(default_factory=list)

    @cached_property
    def fates(self) -> Fates | None:
        """What the output says of documents; None, with a note, where it cannot be told."""
        found = fates_of(self.store, self.record.output.digest)
        if found is None:
            problems = self.store.problems(self.record.output)
            why = f": {'; '.join(problems)}" if problems else ""
            self.notes.append(f"which documents {self._name(self.record)} holds cannot be told{why}")
        return found

    @cached_property
    def ids(self) -> Ids:
        """The documents that the output holds."""
        return self._held[0]

    @cached_property
    def _held(self) -> tuple[Ids, NDArray[np.uint8]]:
        return (NOTHING, np.zeros(0, np.uint8)) if self.fates is None else self.fates.held()

    @cached_property
    def splits(self) -> tuple[list[str | None], NDArray[np.uint8]]:
        """The splits by name, and for each of `ids` the number of its own."""
        labels = self.fates.labels if self.fates is not None else []
        names = list(dict.fromkeys(label.split for label in labels))
        numbers = np.array([names.index(label.split) for label in labels] or [0], np.uint8)
        return names, numbers[self._held[1]]

    @cached_property
    def before(self) -> list[Record]:
        """The work that the output was made by and from, from the sources on."""
        found = ancestors(self.store, self.record)
        return [found["nodes"][name] for name in in_order(found)]

    @cached_property
    def adopted(self) -> list[tuple[str, str]]:
        """(stage, declared origin) of the documents before the output that were made elsewhere."""
        return [
            (record.stage, record.declared.origin.rstrip("/"))
            for record in self.before
            if record.declared is not None and record.documents is not None
        ]

    def dropped(self, ids: Ids) -> tuple[list[tuple[str, str]], NDArray[np.int64], NDArray[np.bool_]]:
        """(stage, reason) pairs; for each of `ids` (M,) the number of that by which it was dropped on this side, −1 if
        it was not; and whether any output on this side names it at all."""
        reasons: list[tuple[str, str]] = []
        codes, named = np.full(len(ids), -1, np.int64), np.zeros(len(ids), bool)
        for record in self.before if len(ids) else ():
            fates = fates_of(self.store, record.output.digest)
            if fates is None:
                problems = self.store.problems(record.output)
                if problems:
                    self.notes.append(f"what {self._name(record)} dropped cannot be told: {'; '.join(problems)}")
                continue
            said = fates.codes(ids)
            named |= said >= 0
            for number in np.unique(said[said >= 0]).tolist():
                label = fates.labels[number]
                if not label.held:
                    reasons.append((record.stage, label.reason or "dropped"))
                    codes[(said == number) & (codes < 0)] = len(reasons) - 1
        return reasons, codes, named

    @cached_property
    def described_by(self) -> tuple[Record, list[Path]] | None:
        """The nearest output that says where its documents come from, itself first, and its tables that do."""
        waiting, seen = [self.record], set()
        while waiting:
            record = waiting.pop(0)
            if record.key in seen:
                continue
            seen.add(record.key)
            folder = self.store.object_path(record.output.digest)
            tables = [path for path in sorted(folder.glob("*.parquet")) if _describes(path)]
            if tables:
                return record, tables
            makers = (self.store.maker(artifact) for artifact in record.inputs.values())
            # Pairs describe the prompts of rankings; a model among the inputs is another matter.
            waiting += [maker for maker in makers if maker is not None and maker.output.kind in ("corpus", "pairs")]
        self.notes.append(f"where the documents of {self._name(self.record)} come from cannot be told")
        return None

    @cached_property
    def origins(self) -> tuple[list[str], NDArray[np.int32]]:
        """The origins by name, and for each of `ids` the number of its own; the first is UNKNOWN."""
        names = {UNKNOWN: 0}
        codes = np.zeros(len(self.ids), np.int32)
        for found, table in self._scan(["origin"]):
            encoded = table["origin"].combine_chunks().dictionary_encode()
            numbers = [names.setdefault(name, len(names)) for name in encoded.dictionary.to_pylist()]
            if numbers:
                known = pc.fill_null(encoded.indices, len(numbers)).to_numpy()
                codes[found] = np.array([*numbers, 0], np.int32)[known]
        return list(names), codes

    @cached_property
    def tokens(self) -> NDArray[np.int32] | None:
        """How many tokens each of `ids` has; None where nothing says."""
        path = self.store.object_path(self.record.output.digest) / INDEX
        if not path.is_file():
            return None
        lengths = np.zeros(len(self.ids), np.int32)
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["doc_id", "length"], use_threads=False):
                places = np.searchsorted(self.ids, short_ids(batch["doc_id"]))
                np.add.at(lengths, places, batch["length"].to_numpy())  # a mixture may hold a document several times
        return lengths

    def texts(self) -> tuple[NDArray[np.bool_], NDArray[np.uint64]] | None:
        """For each of `ids` whether its text is known here, and the text's hash; None where there are no texts."""
        known, hashes = np.zeros(len(self.ids), bool), np.zeros(len(self.ids), np.uint64)
        described = self.described_by
        if described is None or any("text" not in pq.read_schema(path).names for path in described[1]):
            return None
        for found, table in self._scan(["text"]):
            texts = table["text"].to_pylist()
            hashes[found] = np.fromiter(
                (xxh3_64_intdigest((text or "").encode()) for text in texts), np.uint64, len(texts)
            )
            known[found] = True
        return known, hashes

    def rows(self, ids: Ids) -> Iterator[dict[str, Any]]:
        """{"id", "source", "origin", "license"} of the documents that are described here, of `ids`."""
        if len(ids) and self.described_by is not None:
            yield from documents_in(self.store, self.described_by[0].output.digest, ids, COLUMNS)

    def _scan(self, columns: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """The rows of documents among `ids`: their places there, and their `columns`."""
        for path in self.described_by[1] if self.described_by is not None and len(self.ids) else ():
            with pq.ParquetFile(path, memory_map=True) as file:
                identity = id_column(file.schema_arrow.names)
                assert identity is not None
                for batch in file.iter_batches(8192, columns=[identity, *columns], use_threads=False):
                    short = short_ids(batch[identity])
                    places = np.searchsorted(self.ids, short)
                    places[places == len(self.ids)] = 0
                    here = self.ids[places] == short
                    yield places[here], pa.Table.from_batches([batch]).filter(pa.array(here))

    @staticmethod
    def _name(record: Record) -> str:
        return f"{record.stage} {record.output.digest[:12]}"


def _describes(path: Path) -> bool:
    names = pq.read_schema(path).names
    return set(COLUMNS) <= set(names) and id_column(names) is not None
