"""Which documents an artifact is made of, read from the files that its ancestors left in the store.

Three layouts tell, whichever stage wrote them:
- a table that describes documents: Parquet with doc_id (or pair_id), source, origin and license;
- a table that only names the documents that an output holds of those its inputs tell: index.parquet (doc_id, split),
  rankings.parquet (prompt_id, split), or else the kept rows of ledger.parquet; what they are stands in those inputs;
- neither, as of a model: the output is made of the documents of all its inputs.

An input of the third sort is inherited whole: rankings are of the chosen prompts, and of all that the model learned
from that answered them. So the answer is exact as far as stages wrote down what they used, and never too small.
"""

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import NotFound
from tasks.lineage.record import Record
from tasks.lineage.store import Store

ID_COLUMNS = ("doc_id", "pair_id")
DESCRIPTION = ("source", "origin", "license")
NAMING = (("index.parquet", "doc_id"), ("rankings.parquet", "prompt_id"))  # table, and its column of ids
LEDGER = "ledger.parquet"
BATCH_ROWS = 8192
LearnedFrom = Mapping[str, Mapping[str, Container[str]]]


class Document(NamedTuple):
    """A text, or a prompt with its answer. split: what it was set apart for, where that is known."""

    doc_id: str
    source: str
    origin: str
    license: str | None
    split: str | None


def documents_of(store: Store, target: Record, learned_from: LearnedFrom | None = None) -> Iterator[Document]:
    """Every document that `target` is made of, once, in an order that only depends on the store's content.

    learned_from: stage → input → the splits that shape its output, where it reads others only to measure itself; a
    stage or input that is not named counts whole. Memory: the ids, not the documents. Raises NotFound where an
    output or a record that would tell is no longer in the store.
    """
    seen: set[str] = set()
    for document, _ in _Walk(store, learned_from or {}).of(target.artifact, target):
        if document.doc_id not in seen:
            seen.add(document.doc_id)
            yield document


class _Walk:
    """One walk down the ancestors; a part that was walked before under the same restriction is not walked again."""

    def __init__(self, store: Store, learned_from: LearnedFrom) -> None:
        self._store = store
        self._learned_from = learned_from
        self._walked: set[tuple[str, str]] = set()

    def of(self, artifact: Artifact, record: Record | None, limits: str = "") -> Iterator[tuple[Document, bool]]:
        """Each document, and whether the artifact tells it itself, rather than inherits it whole from what it was made
        of. `limits` names the restriction that the caller applies to what comes from here."""
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
                yield from ((document, True) for document in _read(table))
            return
        if record is None:
            raise NotFound(f"the record of {artifact} is gone, so what it was made from cannot be told")
        held = _held(folder)
        if held is None:
            yield from ((document, False) for document, _ in self._inputs(record, limits))
            return
        for document, told in self._inputs(record, limits + artifact.digest):
            if not told:
                yield document, False
            elif document.doc_id in held:
                yield document._replace(split=held[document.doc_id] or document.split), True

    def _inputs(self, record: Record, limits: str) -> Iterator[tuple[Document, bool]]:
        """What the inputs hold, of those that are learned from the right splits only."""
        learned_from = self._learned_from.get(record.stage, {})
        for name, artifact in record.inputs.items():
            maker, splits = self._store.maker(artifact), learned_from.get(name)
            if splits is None:
                yield from self.of(artifact, maker, limits)
                continue
            for document, told in self.of(artifact, maker, f"{limits}{record.stage}.{name}"):
                if not told or document.split in splits:
                    yield document, told


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
    for name, column in NAMING:
        if (folder / name).is_file():
            table = pq.read_table(folder / name, columns=[column, "split"])
            return dict(zip(table[column].to_pylist(), table["split"].to_pylist(), strict=True))
    if (folder / LEDGER).is_file():
        rows = pq.read_table(folder / LEDGER, columns=["doc_id", "reason"])
        return dict.fromkeys(rows["doc_id"].filter(pc.is_null(rows["reason"])).to_pylist())
    return None
