"""The longest runs of whole words of a text that stand in a training text, by OLMoTrace's definition (Liu et al. 2025).

A match begins at a word's beginning and ends at a word's end, in the text and where it stands; it is as long as it can
be, and lies in no longer one. Unlike OLMoTrace's, it may go across sentences and lines.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.trace.suffixes import Positions, SuffixArray, TokenText
from tasks.trace.words import IN_WORD, UNCLEAR, Query, Suffix, Vocabulary

LONGEST_CHARACTER = 4  # bytes of UTF-8, and so tokens that may hold one


class Places(NamedTuple):
    """Where a match stands: positions (N,) of its first token, which writes a space first if `spaced`."""

    positions: Positions
    spaced: bool


class Match(NamedTuple):
    """Words [first, last] of a text, as tokens, and every place where they stand."""

    first: int
    last: int
    tokens: NDArray[np.int64]
    places: list[Places]


class Matcher:
    """Finds the matches of texts in one training text."""

    def __init__(self, suffixes: SuffixArray, vocabulary: Vocabulary) -> None:
        self._suffixes = suffixes
        self._edges = _Edges(suffixes.text, vocabulary)

    def matches(self, query: Query, min_words: int) -> Iterator[Match]:
        """The maximal matches of at least `min_words` words, in the order of the text."""
        reached = -1  # last word of the match before: what ends no later lies in it
        for word in range(len(query.words) - min_words + 1):
            least = max(reached + 1, word + min_words - 1)
            found: list[tuple[int, Suffix, Positions]] = []
            for suffix in query.suffixes(word):
                last, positions = self._longest(suffix, least - word)
                if last >= 0:
                    found.append((word + last, suffix, positions))
            if not found:
                continue
            reached = max(last for last, _, _ in found)
            best = [(suffix, positions) for last, suffix, positions in found if last == reached]
            tokens = best[0][0].tokens[: best[0][0].ends[reached - word]]
            yield Match(word, reached, tokens, [Places(positions, suffix.spaced) for suffix, positions in best])

    def _longest(self, suffix: Suffix, least: int) -> tuple[int, Positions]:
        """The last word, counted from the suffix's first, of its longest match, and where that stands; −1 if none
        reaches the word `least`."""
        none = np.zeros(0, np.int64)
        needed = int(suffix.ends[least:].max(initial=0))
        if not needed:
            return -1, none
        length = self._suffixes.longest(suffix.tokens)
        for last in range(len(suffix.ends) - 1, least - 1, -1):
            if 0 < suffix.ends[last] <= length:
                positions = self._suffixes.find(suffix.tokens[: suffix.ends[last]])
                positions = self._edges.whole(positions, int(suffix.ends[last]), spaced=suffix.spaced)
                if len(positions):
                    return last, positions
        return -1, none


class _Edges:
    """Tells whether runs of tokens in a text begin and end with whole words."""

    def __init__(self, text: TokenText, vocabulary: Vocabulary) -> None:
        self._text = text
        self._vocabulary = vocabulary

    def whole(self, positions: Positions, length: int, *, spaced: bool) -> Positions:
        """Those of the positions (N,) where `length` tokens that begin and end in a word are cut out at whole words."""
        ends = positions + length
        whole = ~self._in_word(ends, self._vocabulary.first, after=True)
        if not spaced:  # before a space no word can go on
            whole &= ~self._in_word(positions - 1, self._vocabulary.last, after=False)
        return positions[whole]

    def _in_word(self, positions: Positions, edges: NDArray[np.uint8], *, after: bool) -> NDArray[np.bool_]:
        inside = (positions >= 0) & (positions < self._text.length)
        tokens = self._text.at(np.where(inside, positions, 0))
        states = np.where(inside, edges[tokens], 0)
        for row in np.flatnonzero(states == UNCLEAR):
            states[row] = self._read(int(positions[row]), after=after)
        return states == IN_WORD

    def _read(self, position: int, *, after: bool) -> int:
        """Whether the character that begins (after) or ends (before) at a token's edge is of a word."""
        begin, end = (
            (position, position + LONGEST_CHARACTER) if after else (position - LONGEST_CHARACTER + 1, position + 1)
        )
        places = np.arange(max(begin, 0), min(end, self._text.length))
        written = self._vocabulary.write([int(token) for token in self._text.at(places)])
        text = written.decode(errors="ignore" if not after else "replace")
        return int(text[:1].isalnum() if after else text[-1:].isalnum())
