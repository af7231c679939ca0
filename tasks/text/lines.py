"""Lines taken out of texts: those that the limits of a kind of text rule out, and those that many documents share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.text.features import Features
from tasks.text.rules import FEW_LINE_WORDS, NO_SENTENCE, NOTICE, PAGE_LINE, SHARED_LINE, RuleLimits
from tasks.text.spans import Spans, TextBatch

_SENTENCE_ENDS = b'.!?"'  # C4's terminal punctuation
_ABOUT_THE_PAGE = "(?i:javascript|terms of use|privacy policy|cookie policy|uses? (?:of )?cookies)"  # C4's words
# Short lines that are a notice, or a menu of notices, and nothing else; a sentence about terms of use is none.
_NOTICED = (
    "(?i:javascript|cookie|terms of (?:use|service)|privacy policy|all rights reserved|skip to (?:main )?content)"
)
_NAMED = (
    r"(?:terms of (?:use|service)|(?:cookie|privacy) policy|(?:accept (?:all )?|manage )cookies|cookie settings|"
    r"privacy|terms(?: and conditions)?|legal(?: notice)?|imprint|contact(?: us)?|about(?: us)?|help|site ?map|home|"
    r"skip to (?:main )?content)"
)
_NOTICE = (
    rf"(?i)^\W*(?:(?:(?:see|read|our|the|and)\W+)*{_NAMED}(?:\W+(?:(?:see|read|our|the|and)\W+)*{_NAMED})*|"
    r"(?:please |you (?:need|have) to )?enable javascript[^.!?\n]{0,80}|"
    r"javascript is (?:disabled|required)[^.!?\n]{0,80}|"
    r"(?:we use|th(?:is|e) (?:web ?)?(?:site|page) uses) cookies[^.!?\n]{0,80}|"
    r"(?:(?:©|\(c\)|copyright)[^\n]{0,70})?all rights reserved(?: by [^.!?\n]{0,40})?)\W*$"
)


@dataclass(frozen=True)
class Lost:
    """Lines taken out of texts by one rule, (L,) each: the row of the text, and where in `data` the line stands."""

    data: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def first(self, row: int) -> str:
        """The first line that this text lost."""
        place = int(np.flatnonzero(self.rows == row)[0])
        begin = int(self.starts[place])
        return self.data[begin : begin + int(self.lengths[place])].tobytes().decode()


@dataclass(frozen=True)
class Rest:
    """Texts without the lines they lost, and those by the rule that took them."""

    texts: pa.Array
    lost: dict[str, Lost]


class LostLines:
    """The lines that documents lost, by rule."""

    def __init__(self, num_documents: int) -> None:
        self.counts: dict[str, np.ndarray] = {}
        self._num_documents = num_documents
        self._parts: dict[str, list[tuple[np.ndarray, Lost]]] = {}

    def add(self, lost: Mapping[str, Lost], rows: np.ndarray) -> None:
        """Lines that some documents lost, which stand in these rows of the batch."""
        for rule, lines in lost.items():
            counts = self.counts.setdefault(rule, np.zeros(self._num_documents, np.int64))
            counts[rows] += np.bincount(lines.rows, minlength=len(rows))
            self._parts.setdefault(rule, []).append((rows, lines))

    def first(self, rule: str, row: int) -> str:
        """The first line that the document in a row of the batch lost by a rule."""
        return next(
            lines.first(place)
            for rows, lines in self._parts[rule]
            for place in np.flatnonzero(rows == row).tolist()
            if place in lines.rows
        )


def without_lines(batch: TextBatch, lines: Spans, drop: np.ndarray) -> pa.Array:
    """The texts without the lines where `drop` (L,) holds, and without the line ends behind those."""
    edges = np.zeros(batch.num_bytes + 2, np.int32)
    begins, ends = lines.starts[drop], lines.starts[drop] + lines.lengths[drop]
    inside = ends < batch.offsets[1:][lines.documents[drop]]  # a line end stands behind
    np.add.at(edges, begins, 1)
    np.add.at(edges, ends + inside, -1)
    kept = np.cumsum(edges[: batch.num_bytes]) == 0
    offsets = np.concatenate(([0], np.cumsum(batch.per_document(kept))))
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(batch.bytes[kept])]
    return pa.Array.from_buffers(pa.large_string(), len(batch), buffers)


def _lost(batch: TextBatch, lines: Spans, drop: np.ndarray) -> Lost:
    return Lost(batch.bytes, lines.documents[drop], lines.starts[drop], lines.lengths[drop])


def rule_lines_out(limits: RuleLimits) -> bool:
    """Whether limits may rule out a line of any text."""
    return bool(limits.sentence_lines or limits.min_line_words or limits.drop_page_lines or limits.drop_notices)


def may_lose_lines(column: pa.Array, limits: RuleLimits) -> np.ndarray:
    """True for each text, (N,), in which limits may rule a line out: a search that costs little."""
    if limits.sentence_lines or limits.min_line_words:
        return np.ones(len(column), bool)
    hints = [*([_ABOUT_THE_PAGE] if limits.drop_page_lines else []), *([_NOTICED] if limits.drop_notices else [])]
    found: np.ndarray = pc.match_substring_regex(column, "|".join(hints)).to_numpy(zero_copy_only=False)
    return found


def drop_lines(column: pa.Array, limits: RuleLimits) -> Rest:
    """Texts of one kind without the lines that its limits rule out (Raffel et al. 2020, section 2.2). A line goes by
    the first rule that it breaks."""
    features = Features(TextBatch(column))
    lines, flags = features.lines, {}
    if limits.drop_page_lines:
        flags[PAGE_LINE] = _matching(column, lines, _ABOUT_THE_PAGE, _ABOUT_THE_PAGE)
    if limits.drop_notices:
        flags[NOTICE] = _matching(column, lines, _NOTICED, _NOTICE)
    if limits.sentence_lines:
        flags[NO_SENTENCE] = ~features.lines_ending(_SENTENCE_ENDS) | features.lines_in_ellipses
    if limits.min_line_words is not None:
        words = features.words.starts
        counts = np.searchsorted(words, lines.starts + lines.lengths) - np.searchsorted(words, lines.starts)
        flags[FEW_LINE_WORDS] = counts < limits.min_line_words
    drop, lost = np.zeros(len(lines), bool), {}
    for rule, broken in flags.items():
        lost[rule] = _lost(features.batch, lines, broken & ~drop)
        drop |= broken
    return Rest(without_lines(features.batch, lines, drop) if drop.any() else column, lost)


def _matching(column: pa.Array, lines: Spans, hint: str, pattern: str) -> np.ndarray:
    """True for each line, (L,), in which a hint and a pattern match; only texts that hold the hint are cut in lines."""
    hinted = pc.match_substring_regex(column, hint)
    flags = np.zeros(len(lines), bool)
    texts = pc.list_flatten(pc.split_pattern(column.filter(hinted), "\n"))
    texts = texts.filter(pc.greater(pc.binary_length(texts), 0))
    among = hinted.to_numpy(zero_copy_only=False)[lines.documents]
    both = pc.and_(pc.match_substring_regex(texts, hint), pc.match_substring_regex(texts, pattern))
    flags[among] = both.to_numpy(zero_copy_only=False)
    return flags


class SharedLines:
    """In how many documents each line stands, in memory that does not grow (a count–min sketch, Cormode &
    Muthukrishnan 2005): `ROWS` tables of `CELLS` counts; the least of a line's counts is never too small.

    With a million different lines, a line is counted up by another's occurrences in every row with a probability of
    about (10⁶ / 2²²)³ = 1.4%.
    """

    ROWS, CELLS = 3, 1 << 22

    def __init__(self, min_chars: int) -> None:
        self._min_bytes = min_chars
        self._counts = np.zeros((self.ROWS, self.CELLS), np.uint32)

    def add(self, column: pa.Array, groups: np.ndarray) -> None:
        """Count the lines of documents, each once a document. groups: what is counted apart, (N,) uint64."""
        _, _, keys, texts = self._keys(column, groups)
        order = np.lexsort((keys, texts))
        keys, texts = keys[order], texts[order]
        first = np.ones(len(keys), bool)
        first[1:] = (keys[1:] != keys[:-1]) | (texts[1:] != texts[:-1])
        for row in range(self.ROWS):
            cells, counts = np.unique(self._cells(keys[first], row), return_counts=True)
            self._counts[row, cells] += counts.astype(np.uint32)

    def drop(self, column: pa.Array, groups: np.ndarray, documents: int) -> Rest:
        """The texts without the lines that stand in at least so many documents."""
        batch, lines, keys, _ = self._keys(column, groups, all_lines=True)
        counts = np.min([self._counts[row, self._cells(keys, row)] for row in range(self.ROWS)], axis=0)
        shared = (counts >= documents) & (lines.lengths >= self._min_bytes)
        return Rest(without_lines(batch, lines, shared), {SHARED_LINE: _lost(batch, lines, shared)})

    def _keys(
        self, column: pa.Array, groups: np.ndarray, all_lines: bool = False
    ) -> tuple[TextBatch, Spans, np.ndarray, np.ndarray]:
        batch = TextBatch(column)
        lines = batch.runs(batch.bytes != ord("\n"))
        keys = batch.hashes(lines) ^ groups[lines.documents]
        if all_lines:
            return batch, lines, keys, lines.documents
        long = lines.lengths >= self._min_bytes
        return batch, lines, keys[long], lines.documents[long]

    def _cells(self, keys: np.ndarray, row: int) -> np.ndarray:
        return (keys >> np.uint64(21 * row)) & np.uint64(self.CELLS - 1)
