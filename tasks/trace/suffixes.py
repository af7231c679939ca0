"""A suffix array over tokens: where a run of tokens stands in a text of many millions, found by binary search.

As in infini-gram (Liu et al. 2024), but sorted by the first DEPTH tokens of each suffix only. That bounds the work of
building by DEPTH rounds, whatever the text repeats, and needs neither ranks of the whole text nor prefix doubling: the
suffixes that begin with one range of tokens are sorted alone, a bucket after another, so memory is that of a bucket. A
run longer than DEPTH is found by its beginning, and what goes on differently is sifted out.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

DEPTH = 64
BUCKET = 1 << 22  # suffixes sorted at once, at 40 bytes each; more where one token alone begins more of them
CHUNK = 1 << 24  # tokens looked at at once
FEW = 32  # places that are compared to their end one by one, rather than all of them token by token
WIDTH = 4  # bytes of a token where tokens are compared

Tokens = NDArray[np.integer]
Positions = NDArray[np.int64]


class TokenText:
    """Token shards as one text. A position counts from the beginning of the first shard."""

    def __init__(self, shards: Sequence[Tokens]) -> None:
        self.shards = [shard for shard in shards if len(shard)]
        self.starts = [0, *np.cumsum([len(shard) for shard in self.shards], dtype=int).tolist()]
        self.length = self.starts.pop()

    def chunks(self) -> Iterator[tuple[int, Tokens]]:
        """(position, tokens), a piece at a time."""
        for start, shard in zip(self.starts, self.shards, strict=True):
            for begin in range(0, len(shard), CHUNK):
                yield start + begin, np.asarray(shard[begin : begin + CHUNK])

    def at(self, positions: Positions) -> NDArray[np.uint64]:
        """The tokens at positions (N,); 0 behind the end and before the beginning."""
        found = np.zeros(len(positions), np.uint64)
        for start, shard in zip(self.starts, self.shards, strict=True):
            inside = (positions >= start) & (positions < start + len(shard))
            if inside.all():
                return np.asarray(shard[positions - start], dtype=np.uint64)
            found[inside] = shard[positions[inside] - start]
        return found

    def encoded(self, position: int, length: int) -> bytes:
        """Up to `length` tokens of the shard that holds a position, as bytes in the order of their numbers."""
        number = bisect_right(self.starts, position) - 1
        begin = position - self.starts[number]  # behind the last shard's end, there is nothing
        return encoded(self.shards[number][begin : begin + length])


def encoded(tokens: Sequence[int] | Tokens) -> bytes:
    """Tokens as bytes that compare as the tokens do."""
    return np.asarray(tokens, dtype=">u4").tobytes()


def sorted_suffixes(
    text: TokenText, vocab_size: int, progress: Callable[[int, int], None] = lambda done, total: None,
    depth: int = DEPTH, bucket: int = BUCKET,
) -> Iterator[Positions]:  # fmt: skip
    """The positions of a text in the order of the first `depth` tokens that begin there, a bucket at a time.

    progress: told how many of all positions are sorted.
    """
    bits = max(1, (vocab_size - 1).bit_length())
    done = 0
    for low, high in _buckets(count_tokens(text, vocab_size), bucket):
        begins = [
            start + np.flatnonzero((tokens >= low) & (tokens < high)).astype(np.int64)
            for start, tokens in text.chunks()
        ]
        positions = np.concatenate(begins)
        _sort(text, positions, bits, depth)
        yield positions
        done += len(positions)
        progress(done, text.length)


def count_tokens(text: TokenText, vocab_size: int) -> NDArray[np.int64]:
    """How often each token stands in the text, (V,)."""
    counts = np.zeros(vocab_size, np.int64)
    for _, tokens in text.chunks():
        counts += np.bincount(tokens, minlength=vocab_size)
    return counts


def _buckets(counts: NDArray[np.int64], bucket: int) -> Iterator[tuple[int, int]]:
    """Ranges [low, high) of first tokens that begin about `bucket` suffixes together."""
    low = held = 0
    for token, count in enumerate(counts.tolist()):
        if held and held + count > bucket:
            yield low, token
            low, held = token, 0
        held += count
    if held:
        yield low, len(counts)


def _sort(text: TokenText, positions: Positions, bits: int, depth: int) -> None:
    """Sort positions, (N,), in place.

    Each round packs the next few tokens behind the number of the group of equals, as many as 64 bits hold, and sorts
    what is still tied by that: most suffixes are told apart in the first two rounds.
    """
    slots = np.arange(len(positions))  # places in `positions` that are still tied
    groups = np.zeros(len(positions), np.uint64)
    done = 0
    while len(slots) and done < depth:
        group_bits = int(groups[-1]).bit_length()
        room = max(1, min((64 - group_bits) // bits, depth - done))
        here = positions[slots]
        keys = groups
        for ahead in range(done, done + room):
            keys = (keys << np.uint64(bits)) | text.at(here + ahead)
        order = np.argsort(keys)
        keys = keys[order]
        positions[slots] = here[order]
        same = keys[1:] == keys[:-1]
        tied = np.concatenate([same, [False]]) | np.concatenate([[False], same])
        numbers = np.cumsum(np.concatenate([[False], ~same]))[tied]
        slots = slots[tied]
        groups = np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0).astype(np.uint64)
        done += room


class SuffixArray:
    """Searches a text by the order of its suffixes, which `sorted_suffixes` gave with the same depth."""

    def __init__(self, text: TokenText, order: NDArray[np.unsignedinteger], depth: int = DEPTH) -> None:
        self.text = text
        self._order = order
        self._depth = depth

    def longest(self, query: Sequence[int] | Tokens) -> int:
        """How many of the first tokens of `query` stand together somewhere."""
        head = encoded(query[: self._depth])
        place = self._left(head)
        near = self._order[max(0, place - 1) : place + 1]
        length = max((_common(head, self._head(int(position), head)) // WIDTH for position in near), default=0)
        if length < self._depth:
            return length
        going_on = self._order[place : self._right(head)].astype(np.int64)
        while length < len(query):
            if len(going_on) <= FEW:
                rest = encoded(query[length:])
                return length + max(
                    _common(rest, self._head(int(position) + length, rest)) // WIDTH for position in going_on
                )
            kept = going_on[self.text.at(going_on + length) == query[length]]
            if not len(kept):
                break
            going_on, length = kept, length + 1
        return length

    def find(self, query: Sequence[int] | Tokens) -> Positions:
        """Every position where all of `query`, which is not empty, stands, in order."""
        head = encoded(query[: self._depth])
        found = self._order[self._left(head) : self._right(head)].astype(np.int64)
        length = self._depth
        while length < len(query) and len(found) > FEW:
            found = found[self.text.at(found + length) == query[length]]
            length += 1
        if length < len(query):
            rest = encoded(query[length:])
            found = found[[self._head(position + length, rest) == rest for position in found.tolist()]]
        return np.sort(found)

    def _head(self, position: int, query: bytes) -> bytes:
        return self.text.encoded(position, len(query) // WIDTH)

    def _left(self, query: bytes) -> int:
        return bisect_left(self._order, query, key=lambda position: self._head(int(position), query))

    def _right(self, query: bytes) -> int:
        return bisect_right(self._order, query, key=lambda position: self._head(int(position), query))


def _common(one: bytes, other: bytes) -> int:
    """Bytes that two begin with alike."""
    size = min(len(one), len(other))
    differ = np.flatnonzero(np.frombuffer(one, np.uint8, size) != np.frombuffer(other, np.uint8, size))
    return int(differ[0]) if len(differ) else size
