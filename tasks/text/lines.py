"""Lines taken out of texts: those that the limits of a kind of text rule out, and those that many documents share."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.text.encoding import each, rewrite
from tasks.text.features import Features
from tasks.text.rules import RuleLimits
from tasks.text.spans import Spans, TextBatch

_SENTENCE_ENDS = b'.!?"'  # C4's terminal punctuation
_ABOUT_THE_PAGE = "(?i:javascript|terms of use|privacy policy|cookie policy|uses? (?:of )?cookies)"  # C4's words
_LINE_ABOUT_THE_PAGE = re.compile(rf"(?m)^[^\n]*{_ABOUT_THE_PAGE}[^\n]*(?:\n|\Z)")


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


def drop_lines(column: pa.Array, limits: RuleLimits) -> pa.Array:
    """Texts of one kind without the lines that its limits rule out (Raffel et al. 2020, section 2.2)."""
    if limits.drop_page_lines:
        hint = pc.match_substring_regex(column, _ABOUT_THE_PAGE)
        column = rewrite(column, hint, each(lambda text: _LINE_ABOUT_THE_PAGE.sub("", text)))
    if not limits.sentence_lines and limits.min_line_words is None:
        return column
    features = Features(TextBatch(column))
    lines = features.lines
    drop = np.zeros(len(lines), bool)
    if limits.sentence_lines:
        drop |= ~features.lines_ending(_SENTENCE_ENDS) | features.lines_in_ellipses
    if limits.min_line_words is not None:
        words = features.words.starts
        counts = np.searchsorted(words, lines.starts + lines.lengths) - np.searchsorted(words, lines.starts)
        drop |= counts < limits.min_line_words
    return without_lines(features.batch, lines, drop)


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

    def drop(self, column: pa.Array, groups: np.ndarray, documents: int) -> tuple[pa.Array, np.ndarray]:
        """The texts without the lines that stand in at least so many documents, and how many each lost, (N,)."""
        batch, lines, keys, _ = self._keys(column, groups, all_lines=True)
        counts = np.min([self._counts[row, self._cells(keys, row)] for row in range(self.ROWS)], axis=0)
        shared = (counts >= documents) & (lines.lengths >= self._min_bytes)
        return without_lines(batch, lines, shared), np.bincount(lines.documents[shared], minlength=len(batch))

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
