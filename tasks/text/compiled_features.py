"""What the rules of quality measure, where there is so much text that machine code pays (counting.py)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tasks.text import counting
from tasks.text.features import Features
from tasks.text.kernels import kept
from tasks.text.repetition import share
from tasks.text.spans import CHARACTERS, LONG_SPAN, Spans, hash_spans


class CompiledFeatures(Features):
    """`Features` of which those that most presets ask for are counted in one pass over the characters and one over the
    lines. The values are the same."""

    @cached_property
    def _counted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batch = self.batch
        counts, hashes, long_words = kept(counting.count)(
            batch.data, batch.loads, batch.offsets, CHARACTERS.known(batch)
        )
        words, starts, lengths = long_words[long_words[:, 2] > LONG_SPAN].T
        hashes[words] = hash_spans(batch.data, starts, lengths)
        return counts, hashes, long_words

    def _column(self, number: int) -> np.ndarray:
        column: np.ndarray = self._counted[0][:, number]
        return column

    @property
    def num_chars(self) -> np.ndarray:
        return self._column(counting.CHARS)

    @property
    def num_letters(self) -> np.ndarray:
        return self._column(counting.LETTERS)

    @property
    def num_digits(self) -> np.ndarray:
        return self._column(counting.DIGITS)

    @property
    def num_visible(self) -> np.ndarray:
        return self._column(counting.VISIBLE)

    @property
    def num_unspaced(self) -> np.ndarray:
        return self._column(counting.UNSPACED_CHARS)

    @property
    def num_words(self) -> np.ndarray:
        return self._column(counting.WORDS)

    @property
    def share_worded(self) -> np.ndarray:
        return share(self._column(counting.WORDED), self.num_words)

    @property
    def word_hashes(self) -> np.ndarray:
        return self._counted[1]

    @property
    def long_words(self) -> Spans:
        numbers, starts, lengths = self._counted[2].T
        return Spans(starts, lengths, np.searchsorted(self.word_offsets, numbers, "right") - 1)

    @cached_property
    def share_repeated_words(self) -> np.ndarray:
        repeated, done = kept(counting.count_repeated_runs)(self.word_hashes, self.word_offsets)
        return share(repeated, np.maximum(self.num_words - 4, 0)) if done else super().share_repeated_words

    @cached_property
    def _counted_lines(self) -> np.ndarray | None:
        found, done = kept(counting.count_lines)(self.batch.data, self.batch.loads, self.batch.offsets)
        return found if done else None

    @property
    def share_ellipses(self) -> np.ndarray:
        found = self._counted_lines
        if found is None:
            return super().share_ellipses
        return share(found[:, counting.LINES_IN_ELLIPSES], found[:, counting.LINES])

    @property
    def num_lines(self) -> np.ndarray:
        return super().num_lines if self._counted_lines is None else self._counted_lines[:, counting.LINES]

    @property
    def repeated_lines(self) -> tuple[np.ndarray, np.ndarray]:
        found = self._counted_lines
        if found is None:
            return super().repeated_lines
        return (
            share(found[:, counting.LINES_REPEATED], found[:, counting.LINES]),
            share(found[:, counting.BYTES_REPEATED], found[:, counting.LINE_BYTES]),
        )
