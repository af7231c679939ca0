"""Some documents, and what became of each of them in every stored output."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.lineage.document_rows import documents_in, ledger_rows
from tasks.lineage.fates import UNKNOWN, Catalogue, Fate, Fates, fates_of, stored_outputs
from tasks.lineage.graph import Graph
from tasks.lineage.headers import headers
from tasks.lineage.sorted_ids import Ids, short_id
from tasks.lineage.store import Store

NOT_NAMED = 255
DESCRIPTION = ("source", "origin", "license")
TRAINED_FROM = frozenset({"tokens", "pairs", "rankings"})  # kinds of outputs that training reads documents from


class Said(NamedTuple):
    """What one output says of M documents: codes (M,) uint8 into `labels`, NOT_NAMED where it does not name one.

    Sets of documents are whole numbers, a bit for each: a union costs little for a million and nothing for one."""

    labels: Sequence[Fate]
    codes: NDArray[np.uint8]

    def fate(self, document: int) -> Fate:
        code = int(self.codes[document])
        return UNKNOWN if code == NOT_NAMED else self.labels[code]

    def where(self, chosen: Iterable[bool]) -> int:
        """The documents whose fate is chosen, as bits; `chosen` goes along `labels`."""
        table = np.zeros(NOT_NAMED + 1, bool)
        flags = np.fromiter(chosen, bool)
        table[: len(flags)] = flags
        table[NOT_NAMED] = False
        return int.from_bytes(np.packbits(table[self.codes], bitorder="little").tobytes(), "little")

    def held(self) -> int:
        return self.where(label.held for label in self.labels)

    def dropped(self) -> int:
        return self.where(not label.held for label in self.labels)


def as_flags(bits: int, count: int) -> NDArray[np.bool_]:
    """Bits as an array (M,)."""
    data = np.frombuffer(bits.to_bytes(-(-count // 8), "little"), np.uint8)
    return np.unpackbits(data, count=count, bitorder="little").astype(bool)


@dataclass
class StoreView:
    """The store as a question sees it: its records' graph, and its outputs, at one moment."""

    store: Store
    graph: Graph = field(init=False)
    present: frozenset[str] = field(init=False)
    outputs: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.graph = Graph(headers(self.store))
        recorded = {header.digest for header in self.graph.headers}  # an index may outlive its output
        self.present = frozenset(stored_outputs(self.store))
        self._catalogue = Catalogue(self.store)
        self.outputs = sorted(self.present | recorded)

    def fates(self) -> Iterator[Fates]:
        """What every output that says something of documents says, and learn on the way which those are."""
        texts = {}
        for fates in self._catalogue.fates(self.outputs):
            texts[fates.digest] = fates.texts
            yield fates
        self.__dict__.setdefault("texts", texts)

    @cached_property
    def texts(self) -> dict[str, list[tuple[str, int]]]:
        """By digest of the outputs that say something of documents, their tables of texts, with the rows of each."""
        return {fates.digest: fates.texts for fates in self._catalogue.fates(self.outputs)}

    def kinds(self, digest: str) -> set[str]:
        return {header.kind for header in self.graph.made_by(digest)}

    def declared(self, digest: str) -> bool:
        """Whether the output was made elsewhere."""
        records = (self.store.maker(header.artifact) for header in self.graph.made_by(digest))
        return any(record is not None and record.declared is not None for record in records)

    def census(self, ids: Ids) -> dict[str, Said]:
        """By digest, what the outputs that name any of the documents (M,) say of them."""
        found: dict[str, Said] = {}
        for fates in self.fates() if len(ids) else ():
            codes = fates.codes(ids)
            if codes.max() >= 0:
                found[fates.digest] = Said(fates.labels, np.where(codes < 0, NOT_NAMED, codes).astype(np.uint8))
        return found

    def in_time(self, digests: Iterable[str]) -> list[str]:
        """Outputs by when they were first made, so that those nearest to the sources come first."""
        made = {
            digest: min((header.created for header in self.graph.made_by(digest)), default="~") for digest in digests
        }
        return sorted(made, key=lambda digest: (made[digest], digest))

    def rows(self, said: Mapping[str, Said], ids: Ids, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """(a document's place in `ids`, row), each once: from the earliest output that holds it; what no output holds
        is read from a ledger."""
        place = {int(short): index for index, short in enumerate(ids)}
        missing = np.ones(len(ids), bool)
        ordered = self.in_time(digest for digest in said if digest in self.present)
        for from_ledger in (False, True):
            for digest in ordered:
                wanted = missing & (
                    said[digest].codes != NOT_NAMED if from_ledger else as_flags(said[digest].held(), len(ids))
                )
                if not wanted.any():
                    continue
                for index, row in self._read(digest, ids[wanted], columns, place, from_ledger):
                    if missing[index]:
                        missing[index] = False
                        yield index, row

    def _read(
        self, digest: str, ids: Ids, columns: Sequence[str], place: dict[int, int], from_ledger: bool
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        if not from_ledger:
            for row in documents_in(self.store, digest, ids, columns):
                yield place[short_id(row["id"])], row
            return
        fates = fates_of(self.store, digest)
        for row in ledger_rows(self.store, fates, ids, columns) if fates is not None else ():
            yield place[short_id(row["id"])], row
