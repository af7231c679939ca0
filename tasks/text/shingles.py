"""Shingles: every run of n words of a text, as 32-bit hashes (Broder 1997).

A word is a run of letters, digits, marks and underscores, whatever the script; in scripts that write no spaces (Han,
Kana, Thai, …) each character counts as a word. Case, spacing and punctuation make no difference. A text of fewer than
n words has one shingle, of all its words; a text without words has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.text.spans import CHARACTERS, TextBatch, mix64

_MULTIPLIER = 0x9E3779B97F4A7C15
_HIGH = np.uint64(32)


@dataclass(frozen=True)
class Shingles:
    """Hashes of all texts of a batch end to end, (S,) uint32, and where each text's begin, `offsets` (N + 1,)."""

    hashes: np.ndarray
    offsets: np.ndarray

    def of(self, document: int) -> np.ndarray:
        """The hashes of one text, repeats included."""
        return self.hashes[self.offsets[document] : self.offsets[document + 1]]

    def followed_by(self, others: Shingles) -> Shingles:
        """These texts' and then the others'."""
        offsets = np.concatenate((self.offsets, others.offsets[1:] + self.offsets[-1]))
        return Shingles(np.concatenate((self.hashes, others.hashes)), offsets)

    def where(self, chosen: np.ndarray) -> Shingles:
        """The shingles of the texts that are chosen, (N,) bool."""
        sizes = np.diff(self.offsets)
        offsets = np.concatenate(([0], np.cumsum(sizes[chosen])))
        return Shingles(self.hashes[np.repeat(chosen, sizes)], offsets)

    def take(self, documents: np.ndarray) -> Shingles:
        """The shingles of some of the texts, in that order."""
        sizes = np.diff(self.offsets)[documents]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
        return Shingles(self.hashes[np.repeat(self.offsets[documents], sizes) + within], offsets)


def shingle(batch: TextBatch, size: int) -> Shingles:
    """Shingles of `size` words. The texts should be lower-cased already."""
    words = batch.words()
    return shingle_words(batch.hashes(words), words.documents, len(batch), size)


def shingle_words(hashes: np.ndarray, documents: np.ndarray, num_texts: int, size: int) -> Shingles:
    """Shingles of `size` words, given the words' hashes (W,) uint64 and the text that each belongs to (W,), rising."""
    counts = np.bincount(documents, minlength=num_texts).astype(np.int64)
    first = np.concatenate(([0], np.cumsum(counts)))
    per_text = np.where(counts >= size, counts - size + 1, np.minimum(counts, 1))
    offsets = np.concatenate(([0], np.cumsum(per_text)))
    result = np.zeros(offsets[-1], np.uint32)
    if len(hashes) >= size:
        rolled = hash_runs(hashes, size)
        starts = np.arange(len(rolled))
        starts = starts[starts + size <= first[1:][documents[: len(rolled)]]]  # the run ends in its own text
        texts = documents[starts]
        result[offsets[texts] + starts - first[texts]] = (rolled[starts] >> _HIGH).astype(np.uint32)
    for short in range(1, size):
        texts = np.flatnonzero(counts == short)
        if len(texts):
            runs = hash_runs(hashes, short)[first[texts]]
            result[offsets[texts]] = (runs >> _HIGH).astype(np.uint32)
    return Shingles(result, offsets)


def hash_runs(hashes: np.ndarray, size: int) -> np.ndarray:
    """Hash of each run of `size` neighbours, (S − size + 1,) uint64; their order matters."""
    return next(runs_of_sizes(hashes, [size]))


def runs_of_sizes(hashes: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """`hash_runs` of several sizes, which must rise, for the work of the largest. Empty where there are too few."""
    rolled, done = hashes.copy(), 1
    for size in sizes:
        for step in range(done, min(size, len(hashes))):
            rolled = rolled[: len(hashes) - step]
            rolled += hashes[step:] * np.uint64(pow(_MULTIPLIER, step, 1 << 64))
        done = size
        yield mix64(rolled) if size <= len(hashes) else hashes[:0]


def unique_shingles(shingles: Shingles) -> Shingles:
    """Each text's shingles once, in rising order."""
    texts = np.repeat(np.arange(len(shingles.offsets) - 1, dtype=np.uint64), np.diff(shingles.offsets))
    keys = np.sort(texts << _HIGH | shingles.hashes)
    keep = np.ones(len(keys), bool)
    keep[1:] = keys[1:] != keys[:-1]
    keys = keys[keep]
    bounds = np.arange(len(shingles.offsets), dtype=np.uint64) << _HIGH
    return Shingles(keys.astype(np.uint32), np.searchsorted(keys, bounds))


def shingle_sets(batch: TextBatch, size: int, compiled: bool = False) -> Shingles:
    """`unique_shingles` of `shingle`. compiled: by machine code (kernels.py)."""
    if compiled and batch.num_bytes:  # loads of no bytes have another layout, for which a loop of its own would be made
        from tasks.text import kernels  # see minhash.py

        hashes, offsets, done = kernels.kept(kernels.unique_shingles)(
            batch.data, batch.loads, batch.offsets, CHARACTERS.known(batch), size
        )
        if done:
            return Shingles(hashes, offsets)
    return unique_shingles(shingle(batch, size))


def is_among(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each key is among `known`, which rises, (P,) bool."""
    if not len(known):
        return np.zeros(len(keys), bool)
    found: np.ndarray = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return found
