"""What became of a document in each stored output: held there, and set apart for what; or dropped there, and why.

The answers stand in the outputs' own tables: a ledger (ledger.py), and tables that hold documents (they have a doc_id,
pair_id or prompt_id and a split, text or prompt). So that a question about one document does not read ten million
rows, their ids are sorted once into `index/documents/<digest>.fates`, when they are first asked for. An output's
digest fixes its content, so such a file never grows old; it may be deleted at any time.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.lineage.sorted_ids import (
    Ids,
    Section,
    SortedIds,
    all_places,
    in_order,
    keep_index,
    labels,
    open_index,
    places,
    short_ids,
)
from tasks.lineage.store import Store

FOLDER = Path("index") / "documents"
LEDGER = "ledger.parquet"
DOCUMENTS = "documents-"  # tables of a corpus; where it has a ledger, that says the same
ID_COLUMNS = ("doc_id", "pair_id", "prompt_id")
CONTENT = frozenset({"split", "text", "prompt"})  # a table with one of them holds what it names
TEXTS = frozenset({"text", "response"})
BATCH_ROWS = 1 << 16
MOST_LABELS = 255

TABLES, ROWS = "tables", "ledger"
KEPT_OVER, DROPPED_FOR = "kept over", "dropped for"  # pairs of a kept and a dropped document, sorted by either
OTHERS = " others"  # and the other of each pair


class Fate(NamedTuple):
    """held: the output holds it. split: what it is set apart for there. reason: why it was dropped."""

    held: bool
    split: str | None = None
    reason: str | None = None


UNKNOWN = Fate(False)


class Fates:
    """What one output says of documents."""

    def __init__(self, digest: str, index: SortedIds) -> None:
        self.digest = digest
        self._index = index
        self.labels: list[Fate] = [Fate(*label) for label in labels(index.header)]

    def codes(self, ids: Ids) -> NDArray[np.int64]:
        """For each of `ids` (M,) the number of its fate in `labels`, −1 where the output does not name it."""
        result = np.full(len(ids), -1, np.int64)
        for name in (ROWS, TABLES):  # a table that holds it says more than the ledger
            section = self._index.sections[name]
            found = places(section, ids)
            known = found >= 0
            result[known] = section.codes[found[known]]
        return result

    def held(self) -> tuple[Ids, NDArray[np.uint8]]:
        """The short ids (N,) that the output holds, rising, each once, and the numbers of their fates in `labels`."""
        rows, tables = self._index.sections[ROWS], self._index.sections[TABLES]
        kept = np.array([label.held for label in self.labels] or [False])
        ids = np.sort(np.concatenate([tables.ids, rows.ids[kept[rows.codes]]]), kind="stable")  # of two sorted runs
        ids = ids[np.diff(ids, prepend=ids[:1] - np.uint64(1)) != 0]
        return ids, self.codes(ids).astype(np.uint8)

    def between(self, low: int, high: int) -> set[int]:
        """The short ids from `low` to `high` that the output names."""
        found: set[int] = set()
        for name in (ROWS, TABLES):
            ids = self._index.sections[name].ids
            begin, end = np.searchsorted(ids, np.uint64(low)), np.searchsorted(ids, np.uint64(high), side="right")
            found.update(ids[begin:end].tolist())
        return found

    def rows(self, table: str, ids: Ids) -> NDArray[np.int64]:
        """Rows of one table of the output that one of `ids` stands in, rising."""
        section, first = self._index.sections[TABLES], 0
        for name, count in self._index.header["tables"]:
            if name == table:
                numbers = np.sort(section.numbers[all_places(section, ids)].astype(np.int64))
                return numbers[(numbers >= first) & (numbers < first + count)] - first
            first += count
        return np.zeros(0, np.int64)

    def ledger_rows(self, ids: Ids) -> NDArray[np.int64]:
        """Rows of the ledger that one of `ids` stands in, rising."""
        section = self._index.sections[ROWS]
        return np.sort(section.numbers[all_places(section, ids)].astype(np.int64))

    def dropped_for(self, ids: Ids) -> list[tuple[int, int]]:
        """(one of `ids`, a document that was dropped as a copy of it), each once."""
        return self._copies(KEPT_OVER, ids)

    def kept_over(self, ids: Ids) -> list[tuple[int, int]]:
        """(one of `ids` that was dropped as a copy, the document kept in its place), each once."""
        return self._copies(DROPPED_FOR, ids)

    def _copies(self, name: str, ids: Ids) -> list[tuple[int, int]]:
        section, others = self._index.sections[name], self._index.sections[name + OTHERS]
        found = all_places(section, ids)
        return sorted(set(zip(section.ids[found].tolist(), others.ids[found].tolist(), strict=True)))

    @property
    def texts(self) -> list[tuple[str, int]]:
        """Name and number of rows of its tables that hold texts and say where they come from."""
        return [(name, count) for name, count in self._index.header["texts"]]


def index_path(store: Store, digest: str, kind: str = "fates") -> Path:
    return store.root / FOLDER / f"{digest}.{kind}"


def fates_of(store: Store, digest: str) -> Fates | None:
    """What an output says of documents, by its index, made now where it is missing; None if it says nothing."""
    path = index_path(store, digest)
    index = open_index(path)
    if index is None:
        folder = store.object_path(digest)
        index = _make(path, folder) if _has_tables(folder) else None
        if index is None:
            return None
    return Fates(digest, index)


class Catalogue:
    """Which outputs say something of documents. Those that say nothing are remembered in `index/documents/silent`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = os.fspath(store.root / FOLDER)
        self._silent_file = os.path.join(self._folder, "silent")
        self._silent: set[str] = set()
        with suppress(OSError), open(self._silent_file, encoding="ascii") as file:
            self._silent.update(file.read().split())

    def fates(self, digests: Iterable[str]) -> Iterator[Fates]:
        """Those of the outputs that say something, in the order given."""
        fresh = []
        for digest in digests:
            if digest in self._silent:
                continue
            index = open_index(f"{self._folder}/{digest}.fates")
            found = fates_of(self._store, digest) if index is None else Fates(digest, index)
            if found is not None:
                yield found
            elif self._store.object_path(digest).is_dir():
                fresh.append(digest)
        self._silent.update(fresh)
        with suppress(OSError):
            if fresh:
                os.makedirs(self._folder, exist_ok=True)
                with open(self._silent_file, "a", encoding="ascii") as file:
                    file.write("".join(f"{digest}\n" for digest in fresh))


def stored_outputs(store: Store) -> list[str]:
    """The digests of the objects in the store, sorted."""
    with suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(store.root / "objects") if len(name) == 64)
    return []


def id_column(names: Sequence[str]) -> str | None:
    """The column that identifies documents, if there is one."""
    return next((name for name in ID_COLUMNS if name in names), None)


def holding_tables(folder: Path) -> list[Path]:
    """The tables of an output that hold documents, sorted by name."""
    found = []
    for path in sorted(folder.glob("*.parquet")):
        if path.name != LEDGER:
            names = pq.read_schema(path).names
            if id_column(names) and not CONTENT.isdisjoint(names):
                found.append(path)
    return found


def _has_tables(folder: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return any(entry.name.endswith(".parquet") for entry in entries)
    return False


class _Labels:
    """Numbers for fates, as they come up. Beyond what a code can hold, splits and reasons are left out."""

    def __init__(self) -> None:
        self.known: dict[Fate, int] = {}

    def number(self, fate: Fate) -> int:
        if fate not in self.known and len(self.known) >= MOST_LABELS - 2:
            fate = Fate(fate.held)
        return self.known.setdefault(fate, len(self.known))

    def numbers(self, held: pa.Array | None, words: pa.Array) -> NDArray[np.uint8]:
        """Codes of rows (N,): by reason where `held` (N,) bool is given, by split where it is None."""
        encoded = words.dictionary_encode() if not pa.types.is_dictionary(words.type) else words
        texts = [*encoded.dictionary.to_pylist(), None]
        codes = pc.fill_null(encoded.indices.cast(pa.int32()), len(texts) - 1).to_numpy(zero_copy_only=False)
        if held is None:
            return np.array([self.number(Fate(True, split=text)) for text in texts], np.uint8)[codes]
        dropped = np.array([self.number(Fate(False, reason=text)) for text in texts], np.uint8)[codes]
        return np.where(held.to_numpy(zero_copy_only=False), np.uint8(self.number(Fate(True))), dropped)


def _make(path: Path, folder: Path) -> SortedIds | None:
    known = _Labels()
    ledger = folder / LEDGER
    tables = holding_tables(folder)
    if not tables and not ledger.is_file():
        return None
    rows, copies = _ledger(ledger, known) if ledger.is_file() else (_nothing(), _copies(_nothing().ids, _nothing().ids))
    own = [table for table in tables if not (ledger.is_file() and table.name.startswith(DOCUMENTS))]
    held, counts = _tables(own, known)
    texts = [
        (table.name, pq.read_metadata(table).num_rows)
        for table in tables
        if "source" in (names := set(pq.read_schema(table).names)) and not names.isdisjoint(TEXTS)
    ]
    header = {"labels": [list(fate) for fate in known.known], "tables": counts, "texts": texts}
    return keep_index(path, header, {ROWS: rows, TABLES: held, **copies})


def _nothing() -> Section:
    return Section(np.zeros(0, np.uint64), np.zeros(0, np.uint32), np.zeros(0, np.uint8))


def _ledger(path: Path, known: _Labels) -> tuple[Section, dict[str, Section]]:
    """Rows by doc_id, and the pairs of a dropped document and the one kept in its place."""
    dropped, kept_instead = [], []
    with pq.ParquetFile(path) as file:
        ids, codes = np.empty(file.metadata.num_rows, np.uint64), np.empty(file.metadata.num_rows, np.uint8)
        columns, begin = ["doc_id", "reason", "duplicate_of"], 0
        for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            here = slice(begin, begin + batch.num_rows)
            ids[here], begin = short_ids(batch["doc_id"]), here.stop
            codes[here] = known.numbers(pc.is_null(batch["reason"]), batch["reason"])
            copies = np.flatnonzero(pc.is_valid(batch["duplicate_of"]).to_numpy(zero_copy_only=False))
            dropped.append(ids[here][copies])
            kept_instead.append(short_ids(batch["duplicate_of"].take(pa.array(copies))))
    kept = np.array([fate.held for fate in known.known] or [False])
    order = np.lexsort((~kept[codes], ids))  # a document that came twice was dropped the second time
    rows = Section(ids[order], order.astype(np.uint32), codes[order])
    return rows, _copies(*(np.concatenate([np.zeros(0, np.uint64), *side]) for side in (kept_instead, dropped)))


def _copies(kept: Ids, dropped: Ids) -> dict[str, Section]:
    """Both ways to look pairs (P,) up. A document that came again from the same source is no copy of itself."""
    apart = kept != dropped
    kept, dropped = kept[apart], dropped[apart]
    sections = {}
    for name, keys, others in ((KEPT_OVER, kept, dropped), (DROPPED_FOR, dropped, kept)):
        order = np.argsort(keys, kind="stable")
        nothing = np.zeros(len(keys), np.uint8)
        sections[name] = Section(keys[order], nothing.astype(np.uint32), nothing)
        sections[name + OTHERS] = Section(others[order], nothing.astype(np.uint32), nothing)
    return sections


def _tables(paths: list[Path], known: _Labels) -> tuple[Section, list[tuple[str, int]]]:
    """Rows of all the tables by id, numbered through; and how many each table has."""
    counts = [(path.name, pq.read_metadata(path).num_rows) for path in paths]
    total, begin = sum(count for _, count in counts), 0
    ids, codes = np.empty(total, np.uint64), np.empty(total, np.uint8)
    for path in paths:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            identity = id_column(names)
            assert identity is not None
            columns = [identity, *(["split"] if "split" in names else [])]
            for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                here = slice(begin, begin + batch.num_rows)
                splits = batch["split"] if "split" in names else pa.nulls(batch.num_rows, pa.string())
                ids[here], codes[here] = short_ids(batch[identity]), known.numbers(None, splits)
                begin = here.stop
    return in_order(ids, np.arange(total, dtype=np.uint32), codes), counts
