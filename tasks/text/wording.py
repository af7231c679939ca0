"""Which wording texts share: runs of the same words, and sets of shingles that are nearly equal.

Words are those of tasks/text/spans.py, blind to case, spacing and punctuation; in scripts without spaces each character
is one. Some texts are held in memory, sorted by the hashes of their runs; any amount of others is looked through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.text.shingles import Shingles, is_among, runs_of_sizes, shingle_words, unique_shingles
from tasks.text.spans import Spans, TextBatch

Texts: TypeAlias = "pa.Array | pa.ChunkedArray | Sequence[str]"
_TABLE_BITS = (16, 24)  # least and most bits of the address in a table that says at once what is not looked for
_FLAGS_PER_RUN = 32
SHINGLE_WORDS = 5


class Words(NamedTuple):
    """The words of a batch of texts: `hashes` (W,) uint64, and their `spans`."""

    batch: TextBatch
    hashes: NDArray[np.uint64]
    spans: Spans


def words_of(texts: Texts) -> Words:
    """The words of texts, blind to case."""
    column = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(list(texts), pa.large_string())
    batch = TextBatch(pc.utf8_lower(column))
    spans = batch.words()
    return Words(batch, batch.hashes(spans), spans)


class Met(NamedTuple):
    """Runs that were met, (M,) each: the row of the text, the number of the run, and its first word."""

    rows: NDArray[np.int64]
    runs: NDArray[np.int64]
    places: NDArray[np.int64]


class Runs:
    """The runs of words of some texts, to be met in others. A text of fewer than `num_words` words is one run.

    Runs are numbered, each distinct one once. `owners[first[r]:first[r + 1]]` are the texts that hold run r;
    `per_text` (N,) is how many distinct runs each text has.
    """

    def __init__(self, texts: Texts, num_words: int, min_words: int = 1) -> None:
        words = words_of(texts)
        counts = np.bincount(words.spans.documents, minlength=len(words.batch))
        wanted = np.where(counts >= max(min_words, 1), np.minimum(counts, num_words), 0)  # (N,) words in a text's runs
        self.sizes: list[int] = np.unique(wanted[wanted > 0]).tolist()
        self._tables: dict[int, tuple[NDArray[np.uint64], NDArray[np.bool_], int]] = {}
        first, owners, number = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)], 0
        for size, hashes, holders, _ in _each_size(words, self.sizes):
            mine = wanted[holders] == size
            pairs = np.unique(np.stack((hashes[mine], holders[mine].astype(np.uint64))), axis=1)
            known, starts = np.unique(pairs[0], return_index=True)
            self._tables[size] = (known, _flags(known), number)
            owners.append(pairs[1].astype(np.int64))
            ends = np.append(starts[1:], pairs.shape[1])
            first.append(first[-1][-1] + ends)
            number += len(known)
        self.first, self.owners = np.concatenate(first), np.concatenate(owners)
        self.per_text = np.bincount(self.owners, minlength=len(counts))

    def __len__(self) -> int:
        return len(self.first) - 1

    def meet(self, words: Words) -> Met:
        """Where these texts hold any of the runs."""
        found = [(np.zeros(0, np.int64),) * 3]
        for size, hashes, holders, places in _each_size(words, self.sizes):
            known, flags, number = self._tables[size]
            likely = np.flatnonzero(flags[hashes & np.uint64(len(flags) - 1)])
            slots = np.minimum(np.searchsorted(known, hashes[likely]), len(known) - 1)
            met = known[slots] == hashes[likely]
            found.append((holders[likely[met]], slots[met] + number, places[likely[met]]))
        return Met(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def owners_of(self, runs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(position in `runs`, text that holds that run) for each text that holds one of `runs`."""
        counts = self.first[runs + 1] - self.first[runs]
        positions = np.repeat(np.arange(len(runs)), counts)
        within = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions, self.owners[np.repeat(self.first[runs], counts) + within]


def _flags(known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    least, most = _TABLE_BITS
    flags = np.zeros(1 << min(max((len(known) * _FLAGS_PER_RUN).bit_length(), least), most), bool)
    flags[known & np.uint64(len(flags) - 1)] = True
    return flags


def _each_size(
    words: Words, sizes: Sequence[int]
) -> Iterable[tuple[int, NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]]:
    """For each size, rising: the hashes of all runs of so many words within one text, their texts and first words."""
    documents = words.spans.documents
    for size, hashes in zip(sizes, runs_of_sizes(words.hashes, sizes), strict=True):
        places = np.flatnonzero(documents[: len(hashes)] == documents[size - 1 :][: len(hashes)])
        yield size, hashes[places], documents[places], places


def _shingles(words: Words) -> Shingles:
    return shingle_words(words.hashes, words.spans.documents, len(words.batch), SHINGLE_WORDS)


class Likeness:
    """Evaluation texts by their shingles, to find training texts that are nearly the same."""

    def __init__(self, texts: Texts, similarity: float, min_words: int) -> None:
        self._similarity = similarity
        words = words_of(texts)
        shingles = unique_shingles(_shingles(words))
        enough = np.bincount(words.spans.documents, minlength=len(words.batch)) >= max(min_words, 1)
        self._sizes = np.diff(shingles.offsets)
        owners = np.repeat(np.arange(len(self._sizes)), self._sizes)
        hashes, owners = shingles.hashes[enough[owners]], owners[enough[owners]]
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners = hashes[order], owners[order]
        self._flags = _flags(self._hashes.astype(np.uint64))

    def near(self, words: Words) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Pairs of a row of these texts and an evaluation text that are alike enough, and how alike, (P,) each."""
        shingles = _shingles(words)
        likely = np.flatnonzero(self._flags[shingles.hashes & np.uint32(len(self._flags) - 1)])
        met = likely[is_among(shingles.hashes[likely], self._hashes)]
        rows = np.flatnonzero(np.diff(np.searchsorted(met, shingles.offsets)))  # texts that share any shingle
        own = unique_shingles(shingles.take(rows))
        sizes = np.diff(own.offsets)
        holders = np.repeat(np.arange(len(rows)), sizes)
        low, high = (np.searchsorted(self._hashes, own.hashes, side) for side in ("left", "right"))
        known = np.bincount(holders[high > low], minlength=len(rows))
        chosen = np.flatnonzero((high > low) & (known >= self._similarity * sizes)[holders])
        counts = (high - low)[chosen]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs = np.stack((np.repeat(holders[chosen], counts), self._owners[np.repeat(low[chosen], counts) + within]))
        pairs, common = np.unique(pairs, axis=1, return_counts=True)
        alike = common / (sizes[pairs[0]] + self._sizes[pairs[1]] - common)
        enough = alike >= self._similarity
        return rows[pairs[0][enough]], pairs[1][enough], alike[enough]


def shared_words(text: str, passage: str, num_words: int) -> str:
    """The first piece of `text`, in lower case, that is a run of `passage`'s words; "" if there is none."""
    words = words_of([text])
    met = Runs([passage], num_words).meet(words)
    if not len(met.places):
        return ""
    first = int(met.places.min())
    count = min(num_words, len(words_of([passage]).hashes))
    last = first + count - 1
    begin, end = int(words.spans.starts[first]), int(words.spans.starts[last] + words.spans.lengths[last])
    return words.batch.data[begin:end].tobytes().decode()
