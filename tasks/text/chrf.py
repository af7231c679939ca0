"""chrF (Popović 2015): the F-score of character n-grams of 1 to 6 characters, between one hypothesis and one reference.

Equals sacrebleu's sentence score (`CHRF(char_order=6, word_order=0, beta=beta)`, divided by 100), for many pairs at
once. The default here is β = 1: sacrebleu's β = 2 weighs recall four times as much as precision and so rewards length.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 6
_ROWS = 1 << 16  # pairs handled at once; the row number takes the upper 16 bits of a key
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, odd


def _concatenate(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The code points of all texts without their whitespace, (C,), and the length of each text, (N,)."""
    compact = ["".join(text.split()) for text in texts]
    lengths = np.fromiter(map(len, compact), dtype=np.int64, count=len(compact))
    encoded = "".join(compact).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(encoded, dtype="<u4").astype(np.uint64), lengths


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values * _MULTIPLIER
    return mixed ^ (mixed >> np.uint64(29))


class _Ngrams:
    """The n-grams of many texts, lengthened by one character at each call of `lengthen`."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.characters, self.lengths = _concatenate(texts)
        ends = np.cumsum(self.lengths)
        rows = np.repeat(np.arange(len(texts), dtype=np.uint64), self.lengths)
        self.row_bits = rows << np.uint64(48)
        self.left = np.repeat(ends, self.lengths) - np.arange(len(self.characters))  # characters from here to the end
        self.hashes = np.zeros(len(self.characters), dtype=np.uint64)
        self.order = 0

    def lengthen(self) -> NDArray[np.uint64]:
        """Sorted keys of all n-grams of the next order: row in the upper 16 bits, 48 bits of a hash below."""
        self.order += 1
        usable = len(self.characters) - self.order + 1
        if usable <= 0:
            return np.zeros(0, dtype=np.uint64)
        self.hashes = _mix(self.hashes[:usable] + self.characters[self.order - 1 :] + np.uint64(1))
        inside = self.left[:usable] >= self.order
        return np.sort(self.row_bits[:usable][inside] | (self.hashes[inside] >> np.uint64(16)))


def _count(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The distinct values of sorted keys and how often each occurs."""
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    return keys[starts], np.diff(np.append(starts, len(keys)))


def _matches(left: NDArray[np.uint64], right: NDArray[np.uint64], rows: int) -> NDArray[np.float64]:
    """For each row, the number of n-grams that both sides have, counted as often as the one with fewer has it."""
    left_keys, left_counts = _count(left)
    right_keys, right_counts = _count(right)
    if not len(left_keys) or not len(right_keys):
        return np.zeros(rows)
    place = np.minimum(np.searchsorted(right_keys, left_keys), len(right_keys) - 1)
    shared = right_keys[place] == left_keys
    common = np.minimum(left_counts[shared], right_counts[place[shared]])
    row = (left_keys[shared] >> np.uint64(48)).astype(np.int64)
    return np.bincount(row, weights=common, minlength=rows).astype(np.float64)


def _chunk_scores(hypotheses: Sequence[str], references: Sequence[str], beta: float) -> NDArray[np.float64]:
    rows = len(hypotheses)
    left, right = _Ngrams(hypotheses), _Ngrams(references)
    precision, recall, orders = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for order in range(1, MAX_ORDER + 1):
        matches = _matches(left.lengthen(), right.lengthen(), rows)
        in_hypothesis = np.maximum(left.lengths - order + 1, 0)
        in_reference = np.maximum(right.lengths - order + 1, 0)
        usable = (in_hypothesis > 0) & (in_reference > 0)
        precision += np.where(usable, matches / np.maximum(in_hypothesis, 1), 0)
        recall += np.where(usable, matches / np.maximum(in_reference, 1), 0)
        orders += usable
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    weight = beta**2
    denominator = weight * precision + recall
    return np.where(denominator > 0, (1 + weight) * precision * recall / np.where(denominator > 0, denominator, 1), 0.0)


def chrf_scores(hypotheses: Sequence[str], references: Sequence[str], beta: float = 1.0) -> NDArray[np.float64]:
    """The chrF of each hypothesis against the reference at its place: (N,), from 0 to 1.

    Whitespace is left out; precision and recall are averaged over the orders that both strings have (sacrebleu's
    effective order), so an empty string scores 0. n-grams are compared by 48-bit hashes within a pair: in a million
    pairs of 100 characters the chance of one miscount is about 10⁻³. Raises ValueError for unequal numbers.
    """
    if len(hypotheses) != len(references):
        raise ValueError(
            f"chrF needs a reference for each hypothesis; got {len(hypotheses)} hypotheses and "
            f"{len(references)} references"
        )
    chunks = [
        _chunk_scores(hypotheses[start : start + _ROWS], references[start : start + _ROWS], beta)
        for start in range(0, len(hypotheses), _ROWS)
    ]
    return np.concatenate(chunks) if chunks else np.zeros(0)
