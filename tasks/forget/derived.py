"""Pairs that were made from a forgotten document: questions that its documentation answers, known by its address."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.forget.texts import PAIRS
from tasks.impact.selector import PAIR, FoundDocument
from tasks.lineage.fates import LEDGER, stored_outputs
from tasks.lineage.store import Store
from tasks.text.forgotten import source_digest

COLUMNS = ("pair_id", "source", "origin", "license")


def derived(store: Store, documents: Iterable[FoundDocument]) -> list[FoundDocument]:
    """The pairs of every stored output that were made, or considered, from these documents and are not among them.

    Only of an address that names one text alone: rows of one file are not made from one another.
    """
    documents = list(documents)
    known = {document.doc_id for document in documents}
    sources = {document.source for document in documents if document.source and source_digest(document.source)}
    found: dict[str, FoundDocument] = {}
    for digest in stored_outputs(store) if sources else ():
        folder = store.object_path(digest)
        if not (folder / PAIRS).is_file():
            continue
        for name, source, origin, license_ in _made_from(folder, sources):
            if name not in known:
                held_by = [*(found[name].held_by if name in found else ()), *([digest] if origin is not None else ())]
                found[name] = FoundDocument(name, source, origin, license_, 1.0, held_by, PAIR)
    return sorted(found.values(), key=lambda document: document.doc_id)


def _made_from(folder: Path, sources: set[str]) -> Iterator[tuple[str, str, str | None, str | None]]:
    """(pair_id, source, origin, licence); the latter two are None for a pair that was dropped."""
    wanted = pa.array(sorted(sources))
    kept = pq.read_table(folder / PAIRS, columns=list(COLUMNS))
    kept = kept.filter(pc.is_in(kept["source"], wanted))
    held = set(kept["pair_id"].to_pylist())
    yield from (tuple(row[name] for name in COLUMNS) for row in kept.to_pylist())
    with pq.ParquetFile(folder / LEDGER) as file:
        for batch in file.iter_batches(1 << 16, columns=["doc_id", "source"]):
            for row in batch.filter(pc.is_in(batch["source"], wanted)).to_pylist():
                if row["doc_id"] not in held:
                    yield row["doc_id"], row["source"], None, None
