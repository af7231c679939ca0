"""Learns the merges of byte-level BPE (Sennrich et al. 2016, section 3.2) with numpy, the same ones as `tokenizers`.

All distinct words lie in one array of symbols that is linked both ways; merging a pair relinks every place where it
stands at once. A pair's places are written down when the newer of its two tokens comes to be, and looked through when
its turn comes: merges only ever take places away, so what was counted then is an upper bound (a lazy greedy queue, as
in Minoux 1978), and no count has to be kept up to date.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUM_BYTES = 256
_WIDTH = 1 << 31  # a pair of tokens as one number: left · _WIDTH + right, in the order of (left, right)
_EDGE = -1  # stands before and behind each word
_COOLING = 8  # by how much the least count falls at which pairs enter the queue

Places = NDArray[np.int32]
_Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Places]
"""Pairs entered together: how often they occurred and which they are, (P,), and the bounds of their places (P + 1,)."""


class Words(NamedTuple):
    """Distinct words: their bytes end to end, uint8; where each begins and the last ends (N + 1,); how often (N,)."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]


class Merge(NamedTuple):
    """Token ids of the two parts, and of the token that they become."""

    left: int
    right: int
    token: int


def learn_merges(words: Words, byte_ids: NDArray[np.int64], num_tokens: int) -> list[Merge]:
    """The merges that make up to `num_tokens` new tokens, fewer where nothing is left to merge.

    byte_ids (256,): the ids of the bytes; new tokens are numbered from the highest of them on. The pair that occurs
    most often in the words is merged first, of equals that with the lower ids. No two merges make the same token: as
    long as nothing merges across its ends, what merges between them does not depend on where it stands.
    """
    return _Learner(words, byte_ids).learn(int(byte_ids.max()) + 1, num_tokens)


class _Learner:
    def __init__(self, words: Words, byte_ids: NDArray[np.int64]) -> None:
        lengths = np.diff(words.offsets)
        counts = words.counts[lengths > 1]
        kept = np.repeat(lengths > 1, lengths)
        lengths = lengths[lengths > 1]
        ends = np.cumsum(lengths + 1)  # of each word, where the edge behind it stands
        size = int(ends[-1]) + 1 if len(ends) else 1
        inside = np.ones(size, bool)
        inside[np.append(0, ends)] = False
        self._symbols = np.full(size, _EDGE, np.int32)
        self._symbols[inside] = byte_ids[words.data[kept]]
        self._left = np.arange(-1, size - 1, dtype=np.int32)
        self._right = np.arange(1, size + 1, dtype=np.int32)
        self._weights = np.zeros(size, np.int64)  # how often the word of each place occurs
        self._weights[inside] = np.repeat(counts, lengths)
        self._queue: list[tuple[int, int]] = []  # (−count, pair)
        self._places: dict[int, Places] = {}  # of the pairs in the queue
        self._cold: list[_Batch] = []
        self._least = np.iinfo(np.int64).max  # pairs that occur less often wait in _cold

    def learn(self, first: int, num_tokens: int) -> list[Merge]:
        merges: list[Merge] = []
        inside = np.flatnonzero(self._symbols[:-1] >= 0)
        self._enter(inside[self._symbols[inside + 1] >= 0].astype(np.int32))
        while len(merges) < num_tokens and self._warm():
            negative, pair = heapq.heappop(self._queue)
            left, right = divmod(pair, _WIDTH)
            places = self._places.pop(pair)
            places = places[self._symbols[places] == left]
            places = places[self._symbols[self._right[places]] == right]
            count = int(self._weights[places].sum())
            if count == -negative:
                merges.append(Merge(left, right, first + len(merges)))
                self._merge(merges[-1], places)
            elif count:
                self._push(count, pair, places)
        return merges

    def _merge(self, merge: Merge, places: Places) -> None:
        """Put the token where its parts stand, and enter the pairs that it makes with its neighbours."""
        if merge.left == merge.right:  # of "aaa" the first two
            places = np.sort(places)
            numbers = np.arange(len(places))
            follows = np.append(False, self._right[places[:-1]] == places[1:])
            places = places[(numbers - np.maximum.accumulate(np.where(follows, 0, numbers))) % 2 == 0]
        second = self._right[places]
        behind = self._right[second]
        self._symbols[second] = _EDGE
        self._symbols[places] = merge.token
        self._right[places] = behind
        self._left[behind] = places
        before = self._left[places]
        token = self._symbols[before]
        before = before[(token >= 0) & (token != merge.token)]  # a pair of two new tokens is entered by the left one
        self._enter(np.concatenate((before, places[self._symbols[behind] >= 0])))

    def _enter(self, places: Places) -> None:
        """Put the pairs that begin at distinct places in the queue, or in the cold."""
        if not len(places):
            return
        pairs = self._symbols[places] * np.int64(_WIDTH) + self._symbols[self._right[places]]
        order = np.argsort(pairs, kind="stable")
        pairs, places = pairs[order], places[order]
        begins = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1]))
        counts = np.add.reduceat(self._weights[places], begins)
        batch = (counts, pairs[begins], np.append(begins, len(places)), places)
        self._push_rows(batch, np.flatnonzero(counts >= self._least))
        if counts.min() < self._least:
            self._cold.append(batch)

    def _push_rows(self, batch: _Batch, rows: NDArray[np.int64]) -> None:
        counts, pairs, bounds, places = batch
        for row in rows.tolist():
            self._push(int(counts[row]), int(pairs[row]), places[bounds[row] : bounds[row + 1]])

    def _push(self, count: int, pair: int, places: Places) -> None:
        heapq.heappush(self._queue, (-count, pair))
        self._places[pair] = places

    def _warm(self) -> bool:
        """Make the pair of the highest count the first in the queue, out of the cold if need be. False: none is left.

        Few pairs ever come to be merged, so most of them never enter the queue.
        """
        while not self._queue or -self._queue[0][0] < self._least:
            if not self._cold:
                return bool(self._queue)
            highest = max(int(counts[counts < self._least].max()) for counts, *_ in self._cold)
            below, self._least = self._least, max(1, min(highest, self._least // _COOLING))
            for batch in self._cold:
                self._push_rows(batch, np.flatnonzero((batch[0] >= self._least) & (batch[0] < below)))
            self._cold = [batch for batch in self._cold if batch[0].min() < self._least]
        return True
