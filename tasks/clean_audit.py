"""What a person needs to judge the rules of `clean` by: rejects of each, what was measured, and what was found."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.cleaner import Cleaned, Cleaner
from tasks.text.histograms import Histograms
from tasks.text.language import UNDETERMINED
from tasks.text.rules import REASONS

EXCERPT_CHARS = 600
UNBROKEN = re.compile(r"\S{40,}")  # in an example of a single line: may be one of a key, which only its whole tells
FINDS_SCHEMA = pa.schema([("doc_id", pa.string()), ("kind", pa.string()), ("count", pa.int64())])


@dataclass
class Rejects:
    """A few rejected texts of every rule: those of least doc_id, as good as drawn at random."""

    limit: int
    held: dict[str, list[tuple[int, str, dict[str, Any]]]] = field(default_factory=dict)

    def wants(self, reason: str, doc_id: str) -> bool:
        """Whether a rejected text would be among those held."""
        heap = self.held.get(reason, [])
        return self.limit > 0 and (len(heap) < self.limit or -int(doc_id, 16) > heap[0][0])

    def add(self, reason: str, doc_id: str, row: dict[str, Any]) -> None:
        """Hold a rejected text, and the best so far beside it."""
        heap = self.held.setdefault(reason, [])
        heapq.heappush(heap, (-int(doc_id, 16), doc_id, row))
        if len(heap) > self.limit:
            heapq.heappop(heap)

    def merge(self, other: Rejects) -> None:
        """Hold the best of both."""
        for reason, held in other.held.items():
            for _, doc_id, row in held:
                self.add(reason, doc_id, row)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All held, in order of reason and doc_id."""
        for reason in sorted(self.held):
            for _, doc_id, row in sorted(self.held[reason], key=lambda entry: entry[1]):
                yield {"reason": reason, "doc_id": doc_id, **row}


@dataclass
class Audit:
    """What a person needs to judge the rules by: rejects, what was measured, and what was found."""

    rejects: Rejects
    blame: Counter[tuple[str, str]] = field(default_factory=Counter)  # documents dropped by (kind, reason)
    kinds: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    histograms: Histograms = field(default_factory=Histograms)

    def add(self, table: pa.Table, cleaned: Cleaned, cleaner: Cleaner) -> pa.Table:
        """Take a batch in. Gives the rows of personal_data.parquet."""
        self.kinds.update(_counts(cleaned.prepared.kinds))
        self.languages.update(_counts(pc.fill_null(cleaned.languages, UNDETERMINED)))
        for row, doc_id, kind in _some(table, cleaned, cleaned.reasons >= 0):
            reason = REASONS[cleaned.reasons[row]]
            self.blame[kind, reason] += 1
            if self.rejects.wants(reason, doc_id):
                self.rejects.add(reason, doc_id, _reject(table, cleaned, row, kind, cleaner))
        for kind, rules in cleaned.measured.items():
            for rule, (_, values) in rules.items():
                self.histograms.add(kind, rule, values)
        self.figures["mended_encodings"] += cleaned.prepared.mended
        self._add_lines(table, cleaned, cleaner)
        ids, found = table["doc_id"].combine_chunks(), []
        for kind, counts in cleaned.prepared.finds.items():
            rows = np.flatnonzero(counts)
            self.figures[f"masked/{kind}"] += int(counts.sum())
            named = [ids.take(pa.array(rows)), pa.array([kind] * len(rows), pa.string()), pa.array(counts[rows])]
            found.append(pa.table(named, schema=FINDS_SCHEMA))
        some = np.zeros(table.num_rows, bool)
        for counts in cleaned.prepared.finds.values():
            some |= counts > 0
        self.figures["masked_documents"] += int(some.sum())
        return pa.concat_tables(found) if found else FINDS_SCHEMA.empty_table()

    def _add_lines(self, table: pa.Table, cleaned: Cleaned, cleaner: Cleaner) -> None:
        """Lines taken out by each rule, and a few of them, which stand among the rejects."""
        for rule, counts in cleaned.prepared.lines.counts.items():
            self.figures[f"lines_dropped/{rule}"] += int(counts.sum())
            for row, doc_id, kind in _some(table, cleaned, counts > 0):
                if self.rejects.wants(rule, doc_id):
                    line = UNBROKEN.sub("[…]", cleaner.masked(cleaned.prepared.lines.first(rule, row)))[:EXCERPT_CHARS]
                    told = {"kind": kind, "language": cleaned.languages[row].as_py(), "measured": None,
                            "limit": None, "source": table["source"][row].as_py(), "excerpt": line}  # fmt: skip
                    self.rejects.add(rule, doc_id, told)

    def merge(self, other: Audit) -> None:
        """Take in what another one took in."""
        self.rejects.merge(other.rejects)
        self.blame.update(other.blame)
        self.kinds.update(other.kinds)
        self.languages.update(other.languages)
        self.figures.update(other.figures)
        self.histograms.merge(other.histograms)

    def as_json(self, cleaner: Cleaner) -> dict[str, Any]:
        """The content of measures.json."""
        by_kind: dict[str, dict[str, int]] = {}
        for (kind, reason), count in sorted(self.blame.items()):
            by_kind.setdefault(kind, {})[reason] = count
        histograms = self.histograms.as_json()
        for kind, rules in histograms.items():
            for rule, told in rules.items():
                told["limit"] = cleaner.limit(kind, rule)
        return {
            "documents": dict(sorted(self.kinds.items())),
            "dropped": by_kind,
            "lines_dropped": self._figures_of("lines_dropped/"),
            "languages": dict(sorted(self.languages.items(), key=lambda entry: (-entry[1], entry[0]))),
            "personal_data": self._figures_of("masked/"),
            "histograms": histograms,
        }

    def _figures_of(self, group: str) -> dict[str, int]:
        return {
            name.removeprefix(group): count for name, count in sorted(self.figures.items()) if name.startswith(group)
        }


def _counts(column: pa.Array) -> dict[str, int]:
    """How often each value occurs."""
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}


def _some(table: pa.Table, cleaned: Cleaned, chosen: np.ndarray) -> Iterator[tuple[int, str, str]]:
    """Row, doc_id and kind of the documents where `chosen`, (N,), holds."""
    rows = np.flatnonzero(chosen)
    columns = (column.take(pa.array(rows)).to_pylist() for column in (table["doc_id"], cleaned.prepared.kinds))
    return zip(rows.tolist(), *columns, strict=True)


def _reject(table: pa.Table, cleaned: Cleaned, row: int, kind: str, cleaner: Cleaner) -> dict[str, Any]:
    reason = REASONS[cleaned.reasons[row]]
    rows, values = cleaned.measured.get(kind, {}).get(reason, (np.zeros(0, np.int64), np.zeros(0)))
    measured = values[rows == row]
    return {
        "kind": kind,
        "language": cleaned.languages[row].as_py(),
        "measured": round(float(measured[0]), 4) if len(measured) else None,
        "limit": cleaner.limit(kind, reason),
        "source": table["source"][row].as_py(),
        "excerpt": cleaned.prepared.texts[row].as_py()[:EXCERPT_CHARS],
    }
