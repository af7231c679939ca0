"""Which drafts become documents, and why the others do not."""

import fnmatch
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.lineage.parallel import Mapper, in_this_process
from tasks.text.draft_reader import joined, read_drafts
from tasks.text.drafting import SourceDrafts
from tasks.text.drafts import Segment
from tasks.text.forgotten import FORGOTTEN, Forgotten
from tasks.text.quarantine import FEWEST, SourceCount
from tasks.text.text_numbers import TextNumbers

REPEATED = "repeated"  # the same content from the same source again
ABOVE_MAX = "above_max_documents"
LICENCE = "license_not_taken"
_OWN, _CANDIDATE, _OTHERS = 0, 1, (FORGOTTEN, LICENCE, REPEATED, ABOVE_MAX)
_CODES = {reason: number for number, reason in enumerate(_OTHERS, 2)}
_NO_TEXT = "^has (no|a [A-Za-z]+ as|binary data as) field '"  # the reason that file_documents gives
_MOST_ROWS = 1 << 16  # looked at by one worker at a time: what is seen of them fits into memory
_LOOKED_AT = ["doc_id", "reason", "source", "license", "line", "rejected", "excerpt", "encoding"]


@dataclass(frozen=True)
class Look:
    """What a first look at some drafts shows. codes: of each; ids: of the candidates; origins: those that occur;
    reasons: why drafts are dropped that say so themselves; rejected: the drafts of what could not be read."""

    codes: NDArray[np.uint8]
    ids: NDArray[np.bytes_]
    origins: list[str]
    reasons: Counter[str]
    encodings: Counter[str]
    rejected: pa.Table


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
        mapper: Mapper = in_this_process,
        compiled: bool = False,
    ) -> None:
        """Has all drafts looked through once by the mapper, and writes what could not be read to ``quarantine``.
        compiled: repeated ones are found by machine code (kernels.py)."""
        self._drafts, self._forgotten = drafts, forgotten
        self.counts: list[SourceCount] = []
        self.reasons: Counter[str] = Counter()
        self.encodings: Counter[str] = Counter()  # of what was read from another than UTF-8
        self.origins: list[set[str]] = [set() for _ in drafts]  # of each source whose rows name theirs
        codes: list[NDArray[np.uint8]] = []
        ids: list[NDArray[np.bytes_]] = []
        with quarantine.open("w", encoding="utf-8") as file:
            for one, origins in zip(drafts, self.origins, strict=True):
                count = SourceCount(one.source.described(), rows=one.rows)
                self.counts.append(count)
                columns = [*_LOOKED_AT, *(["text", "kind"] if forgotten else [])]
                if one.source.origin_field:
                    columns.append("origin")
                look_at = partial(first_look, licenses=licenses, forgotten=forgotten, columns=columns)
                looks = mapper(look_at, _shares(one.segments))
                for look in chain.from_iterable(looks):
                    codes.append(look.codes)
                    ids.append(look.ids)
                    origins.update(look.origins)
                    self.reasons += look.reasons
                    self.encodings += look.encodings
                    for line in self._quarantined(look.rejected, count):
                        file.write(line)
                if count.rejected - count.files >= FEWEST:
                    count.in_unread = _in_unread(one)
        self._codes = np.concatenate(codes) if codes else np.zeros(0, np.uint8)
        self._settle(np.concatenate(ids) if ids else np.zeros(0, "S16"), max_documents, compiled)
        for reason, code in _CODES.items():
            if number := int((self._codes == code).sum()):
                self.reasons[reason] = number
        self.num_kept = int((self._codes == _CANDIDATE).sum())

    def tables(self) -> Iterator[tuple[SourceDrafts, pa.Table]]:
        """Each source's drafts in tables; the reason why each is dropped stands in ``reason`` (null: kept)."""
        row = 0
        for one in self._drafts:
            for table in read_drafts(one.segments, last=True):
                codes = self._codes[row : row + table.num_rows]
                row += table.num_rows
                others = pa.array(np.array([None, None, *_OTHERS], object), pa.string()).take(pa.array(codes))
                reasons = pc.if_else(pa.array(codes <= _CANDIDATE), table["reason"], others)
                yield one, table.set_column(table.column_names.index("reason"), "reason", reasons)

    def _quarantined(self, rejected: pa.Table, count: SourceCount) -> Iterator[str]:
        rows: list[dict[str, Any]] = rejected.to_pylist()
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

    def _settle(self, ids: NDArray[np.bytes_], max_documents: int | None, compiled: bool) -> None:
        """Of the candidates, whose ids (N,) are given: which are repeated, and which are too many."""
        candidates = np.flatnonzero(self._codes == _CANDIDATE)
        _, first = TextNumbers(compiled).number(ids.view(np.uint64).reshape(-1, 2))
        repeated = np.ones(len(ids), bool)
        repeated[first] = False
        self._codes[candidates[repeated]] = _CODES[REPEATED]
        if max_documents is not None and len(first) > max_documents:
            above = ~repeated & (ids > np.sort(ids[first])[max_documents - 1])
            self._codes[candidates[above]] = _CODES[ABOVE_MAX]


def first_look(
    segments: Sequence[Segment], licenses: Sequence[str], forgotten: Forgotten, columns: list[str]
) -> list[Look]:
    """What some drafts show, table by table. licenses, forgotten: as of `Admission`. columns: that are looked at."""
    return [
        Look(
            codes := _first_codes(table, licenses, forgotten),
            _packed(table["doc_id"].filter(pa.array(codes == _CANDIDATE))),
            table["origin"].unique().to_pylist() if "origin" in columns else [],
            _counted(table["reason"].filter(pa.array(codes == _OWN))),
            _counted(table["encoding"].drop_null()),
            table.filter(pc.is_valid(table["rejected"])).select(_LOOKED_AT),
        )
        for table in read_drafts(segments, columns)
    ]


def _first_codes(table: pa.Table, licenses: Sequence[str], forgotten: Forgotten) -> NDArray[np.uint8]:
    codes = np.where(pc.is_null(table["reason"]).to_numpy(), _CANDIDATE, _OWN).astype(np.uint8)
    if licenses:
        named = pc.dictionary_encode(table["license"]).combine_chunks()
        allowed = np.array([_is_taken(name, licenses) for name in named.dictionary.to_pylist()] + [False])
        places = pc.fill_null(named.indices, len(allowed) - 1).to_numpy(zero_copy_only=False)
        codes[(codes == _CANDIDATE) & ~allowed[places]] = _CODES[LICENCE]
    if forgotten:
        known = np.array([doc_id in forgotten.ids for doc_id in table["doc_id"].to_pylist()], bool)
        known |= forgotten.among(table["text"].combine_chunks(), table["kind"].to_pylist())
        codes[known] = _CODES[FORGOTTEN]
    return codes


def _is_taken(licence: str | None, licenses: Sequence[str]) -> bool:
    return licence is not None and any(fnmatch.fnmatchcase(licence, pattern) for pattern in licenses)


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


def _shares(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """The segments, so many rows at a time, of one file or several."""
    share: list[Segment] = []
    room = _MOST_ROWS
    for segment in joined(segments):
        begin = 0
        while begin < segment.rows:
            rows = min(room, segment.rows - begin)
            share.append(Segment(segment.file, segment.first + begin, rows))
            begin, room = begin + rows, room - rows
            if not room:
                yield share
                share, room = [], _MOST_ROWS
    if share:
        yield share


def _counted(values: pa.ChunkedArray) -> Counter[str]:
    if not len(values):
        return Counter()
    return Counter({entry["values"]: entry["counts"] for entry in values.value_counts().to_pylist()})


def _packed(ids: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Ids of 32 hex digits as 16 bytes each."""
    joined_ids = pc.binary_join(pa.ListArray.from_arrays([0, len(ids)], ids.combine_chunks()), "")
    return np.frombuffer(bytes.fromhex(joined_ids[0].as_py()), "S16")
