"""Which drafts become documents, and why the others do not."""

import fnmatch
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.lineage.parallel import ahead
from tasks.text.draft_reader import read_drafts
from tasks.text.drafting import SourceDrafts
from tasks.text.forgotten import FORGOTTEN, Forgotten
from tasks.text.quarantine import FEWEST, SourceCount
from tasks.text.text_numbers import TextNumbers

REPEATED = "repeated"  # the same content from the same source again
ABOVE_MAX = "above_max_documents"
LICENCE = "license_not_taken"
_OWN, _CANDIDATE, _OTHERS = 0, 1, (FORGOTTEN, LICENCE, REPEATED, ABOVE_MAX)
_CODES = {reason: number for number, reason in enumerate(_OTHERS, 2)}
_NO_TEXT = "^has (no|a [A-Za-z]+ as|binary data as) field '"  # the reason that file_documents gives
_LOOKED_AT = ["doc_id", "reason", "source", "license", "line", "rejected", "excerpt", "encoding"]


class Admission:
    """The first draft of each doc_id, and of these the ``max_documents`` smallest hashes; of every other, why not.

    licenses: patterns of those that are taken; none takes all. What is to be forgotten counts as if it were not there.
    Memory: a byte a draft, and 16 more of each that may become a document.
    """

    def __init__(
        self,
        drafts: Sequence[SourceDrafts],
        licenses: Sequence[str],
        max_documents: int | None,
        forgotten: Forgotten,
        quarantine: Path,
        workers: int = 1,
    ) -> None:
        """Looks through all drafts once, and writes what could not be read to ``quarantine``. workers: with several,
        drafts are read in a thread meanwhile."""
        self._drafts, self._licenses, self._forgotten = drafts, licenses, forgotten
        self.counts: list[SourceCount] = []
        self.reasons: Counter[str] = Counter()
        self.encodings: Counter[str] = Counter()  # of what was read from another than UTF-8
        codes: list[NDArray[np.uint8]] = []
        ids: list[NDArray[np.bytes_]] = []
        columns = [*_LOOKED_AT, *(["text", "kind"] if forgotten else [])]
        with quarantine.open("w", encoding="utf-8") as file:
            for one in drafts:
                count = SourceCount(one.source.described(), rows=one.rows)
                self.counts.append(count)
                for table in ahead(read_drafts(one.segments, columns), workers):
                    self._count_encodings(table["encoding"])
                    codes.append(self._first_look(table))
                    ids.append(_packed(table["doc_id"].filter(pa.array(codes[-1] == _CANDIDATE))))
                    for line in self._quarantined(table, count):
                        file.write(line)
                if count.rejected - count.files >= FEWEST:
                    count.in_unread = _in_unread(one)
        self._codes = np.concatenate(codes) if codes else np.zeros(0, np.uint8)
        self._settle(np.concatenate(ids) if ids else np.zeros(0, "S16"), max_documents)
        for reason, code in _CODES.items():
            if number := int((self._codes == code).sum()):
                self.reasons[reason] = number
        self.num_kept = int((self._codes == _CANDIDATE).sum())

    def tables(self) -> Iterator[tuple[SourceDrafts, pa.Table]]:
        """Each source's drafts in tables; the reason why each is dropped stands in ``reason`` (null: kept)."""
        row = 0
        for one in self._drafts:
            for table in read_drafts(one.segments):
                codes = self._codes[row : row + table.num_rows]
                row += table.num_rows
                others = pa.array(np.array([None, None, *_OTHERS], object), pa.string()).take(pa.array(codes))
                reasons = pc.if_else(pa.array(codes <= _CANDIDATE), table["reason"], others)
                yield one, table.set_column(table.column_names.index("reason"), "reason", reasons)

    def _first_look(self, table: pa.Table) -> NDArray[np.uint8]:
        reasons = table["reason"]
        codes = np.where(pc.is_null(reasons).to_numpy(), _CANDIDATE, _OWN).astype(np.uint8)
        if self._licenses:
            taken = pc.dictionary_encode(table["license"]).combine_chunks()
            allowed = np.array([self._is_taken(name) for name in taken.dictionary.to_pylist()] + [False])
            places = pc.fill_null(taken.indices, len(allowed) - 1).to_numpy(zero_copy_only=False)
            codes[(codes == _CANDIDATE) & ~allowed[places]] = _CODES[LICENCE]
        if self._forgotten:
            known = np.array([doc_id in self._forgotten.ids for doc_id in table["doc_id"].to_pylist()], bool)
            known |= self._forgotten.among(table["text"].combine_chunks(), table["kind"].to_pylist())
            codes[known] = _CODES[FORGOTTEN]
        for entry in reasons.filter(pa.array(codes == _OWN)).value_counts().to_pylist():
            self.reasons[entry["values"]] += entry["counts"]
        return codes

    def _count_encodings(self, column: pa.ChunkedArray) -> None:
        if column.null_count < len(column):
            for entry in column.drop_null().value_counts().to_pylist():
                self.encodings[entry["values"]] += entry["counts"]

    def _is_taken(self, licence: str | None) -> bool:
        return licence is not None and any(fnmatch.fnmatchcase(licence, pattern) for pattern in self._licenses)

    def _quarantined(self, table: pa.Table, count: SourceCount) -> Iterator[str]:
        rejected = table.filter(pc.is_valid(table["rejected"]))
        rows: list[dict[str, Any]] = rejected.select(_LOOKED_AT).to_pylist()
        for row in rows:
            count.reject(row["source"], row["line"], row["rejected"])
            if row["doc_id"] not in self._forgotten.ids:
                entry = {
                    "uri": row["source"],
                    "line": row["line"],
                    "reason": row["rejected"],
                    "excerpt": row["excerpt"],
                }
                yield json.dumps(entry, ensure_ascii=False) + "\n"

    def _settle(self, ids: NDArray[np.bytes_], max_documents: int | None) -> None:
        """Of the candidates, whose ids (N,) are given: which are repeated, and which are too many."""
        candidates = np.flatnonzero(self._codes == _CANDIDATE)
        _, first = TextNumbers().number(ids.view(np.uint64).reshape(-1, 2))
        repeated = np.ones(len(ids), bool)
        repeated[first] = False
        self._codes[candidates[repeated]] = _CODES[REPEATED]
        if max_documents is not None and len(first) > max_documents:
            above = ~repeated & (ids > np.sort(ids[first])[max_documents - 1])
            self._codes[candidates[above]] = _CODES[ABOVE_MAX]


def _in_unread(drafts: SourceDrafts) -> int:
    """Rows of files none of whose rows could be read, most of them for want of the text field: no such files."""
    rows, rejected, textless = Counter[str](), Counter[str](), Counter[str]()
    for table in read_drafts(drafts.segments, ["collected_from", "line", "rejected"]):
        files = pc.struct_field(table["collected_from"], "file")
        malformed = pc.and_(pc.is_valid(table["rejected"]), pc.is_valid(table["line"]))
        without = pc.fill_null(pc.match_substring_regex(table["rejected"], _NO_TEXT), False)
        for counted, among in ((rows, files), (rejected, files.filter(malformed)), (textless, files.filter(without))):
            for entry in among.value_counts().to_pylist():
                counted[entry["values"]] += entry["counts"]
    return sum(number for file, number in rejected.items() if 2 * textless[file] > number == rows[file])


def _packed(ids: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Ids of 32 hex digits as 16 bytes each."""
    return np.frombuffer(bytes.fromhex("".join(ids.to_pylist())), "S16")
