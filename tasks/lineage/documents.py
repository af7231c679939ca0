"""Which documents an artifact is made of, read from the files that its ancestors left in the store.

Three layouts tell, whichever stage wrote them:
- a table that describes documents: Parquet with doc_id (or pair_id), source, origin and license;
- a table that only names the documents an output holds: index.parquet (doc_id, split), or else the kept rows of
  ledger.parquet; what they are stands in the outputs it was made from;
- neither: the output is made of the documents of all its inputs.
"""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import NotFound
from tasks.lineage.record import Record
from tasks.lineage.store import Store

ID_COLUMNS = ("doc_id", "pair_id")
DESCRIPTION = ("source", "origin", "license")
INDEX = "index.parquet"
LEDGER = "ledger.parquet"
BATCH_ROWS = 8192


class Document(NamedTuple):
    """A text, or a prompt with its answer. split: what it was set apart for, where that is known."""

    doc_id: str
    source: str
    origin: str
    license: str | None
    split: str | None


def documents_of(
    store: Store, target: Record, learned_from: Mapping[str, Container[str]] | None = None
) -> Iterator[Document]:
    """Every document that `target` is made of, once, in an order that only depends on the store's content.

    learned_from: stage → the splits that shape its output, where it reads others only to measure itself; a stage that
    is not named is made of all that its inputs hold. Memory: the ids, not the documents. Raises NotFound where an
    output or a record that would tell is no longer in the store.
    """
    seen: set[str] = set()
    for document in _Walk(store, learned_from or {}).of(target.artifact, target):
        if document.doc_id not in seen:
            seen.add(document.doc_id)
            yield document


class _Walk:
    """One walk down the ancestors; a part that was walked before under the same restriction is not walked again."""

    def __init__(self, store: Store, learned_from: Mapping[str, Container[str]]) -> None:
        self._store = store
        self._learned_from = learned_from
        self._walked: set[tuple[str, str]] = set()

    def of(self, artifact: Artifact, record: Record | None, limits: str = "") -> Iterator[Document]:
        """`limits` names the restriction that the caller applies to what comes from here."""
        if (artifact.digest, limits) in self._walked:
            return
        self._walked.add((artifact.digest, limits))
        folder = self._store.object_path(artifact.digest)
        if not folder.is_dir():
            raise NotFound(
                f"{artifact} is no longer in the store, so its documents cannot be told; run the flow that made it"
            )
        tables = _describing(folder)
        if tables:
            for table in tables:
                yield from _read(table)
            return
        if record is None:
            raise NotFound(f"the record of {artifact} is gone, so what it was made from cannot be told")
        held = _held(folder)
        if held is None:
            yield from self._inputs(record, limits)
            return
        for document in self._inputs(record, limits + artifact.digest):
            if document.doc_id in held:
                yield document._replace(split=held[document.doc_id] or document.split)

    def _inputs(self, record: Record, limits: str) -> Iterator[Document]:
        splits = self._learned_from.get(record.stage)
        for artifact in record.inputs.values():
            maker = self._store.maker(artifact)
            if splits is None or not _tells(self._store.object_path(artifact.digest)):
                yield from self.of(artifact, maker, limits)
                continue
            for document in self.of(artifact, maker, limits + record.stage):
                if document.split in splits:
                    yield document


def _tells(folder: Path) -> bool:
    """Whether an output says itself which documents it holds, so that its splits are those its consumer chose from."""
    return bool(_describing(folder)) or any((folder / name).is_file() for name in (INDEX, LEDGER))


def _describing(folder: Path) -> list[Path]:
    """The tables of an output that describe documents."""
    return [
        path
        for path in sorted(folder.glob("*.parquet"))
        if set(DESCRIPTION) <= (names := set(pq.read_schema(path).names)) and not names.isdisjoint(ID_COLUMNS)
    ]


def _read(path: Path) -> Iterator[Document]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        identity = next(name for name in ID_COLUMNS if name in names)
        columns = [identity, *DESCRIPTION, *(["split"] if "split" in names else [])]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            values = batch.select(columns).to_pydict()
            splits = values.get("split") or [None] * batch.num_rows
            yield from map(Document, values[identity], *(values[name] for name in DESCRIPTION), splits)


def _held(folder: Path) -> dict[str, str | None] | None:
    """The ids that an output holds, each with its split where that is told; None if nothing says."""
    index, ledger = folder / INDEX, folder / LEDGER
    if index.is_file():
        table = pq.read_table(index, columns=["doc_id", "split"])
        return dict(zip(table["doc_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    if ledger.is_file():
        kept = pq.read_table(ledger, columns=["doc_id"], filters=[("kept", "=", True)])["doc_id"].to_pylist()
        return dict.fromkeys(kept)
    return None
