"""Which held-out texts stand in the training data, word for word.

A text is contaminated if a run of n of its words occurs in a training text (Brown et al. 2020, appendix C: n = 13);
a text of fewer words, if all of it occurs. Case, spacing and punctuation make no difference.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.text.shingles import hash_runs
from tasks.text.spans import TextBatch

_TABLE_BITS = np.uint64(0xFFFF)  # a table of 65,536 flags says at once that most runs are not looked for


class Needles:
    """Held-out texts to look for in training texts, and which of them were found so far, `found` (N,)."""

    def __init__(self, texts: Sequence[str], num_words: int) -> None:
        self.found: NDArray[np.bool_] = np.zeros(len(texts), bool)
        hashes, documents = _words(pa.array(texts, pa.large_string()))
        counts = np.bincount(documents, minlength=len(texts))
        self._by_size: dict[int, tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.bool_]]] = {}
        for size in np.unique(np.minimum(counts[counts > 0], num_words)).tolist():
            runs, owners = _runs(hashes, documents, size)
            wanted = np.minimum(counts[owners], num_words) == size
            runs, owners = runs[wanted], owners[wanted]
            order = np.argsort(runs, kind="stable")
            flags = np.zeros(int(_TABLE_BITS) + 1, bool)
            flags[runs & _TABLE_BITS] = True
            self._by_size[size] = (runs[order], owners[order], flags)

    def look_in(self, texts: pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        """Marks as found what occurs in these training texts."""
        hashes, documents = _words(texts)
        for size, (wanted, owners, flags) in self._by_size.items():
            runs, _ = _runs(hashes, documents, size)
            likely = np.unique(runs[flags[runs & _TABLE_BITS]])
            met = likely[np.isin(likely, wanted, assume_unique=False)]
            first, behind = np.searchsorted(wanted, met), np.searchsorted(wanted, met, side="right")
            for begin, end in zip(first.tolist(), behind.tolist(), strict=True):
                self.found[owners[begin:end]] = True


def contaminated(
    held_out: Sequence[str], training: Iterable[pa.Array | pa.ChunkedArray | Sequence[str]], num_words: int
) -> NDArray[np.bool_]:
    """For each held-out text (N,) whether it occurs in any of the training texts, given in batches."""
    needles = Needles(held_out, num_words)
    for batch in training:
        needles.look_in(batch)
    return needles.found


def _words(texts: pa.Array | pa.ChunkedArray | Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash and text number of every word."""
    column = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(list(texts), pa.large_string())
    batch = TextBatch(pc.utf8_lower(column))
    words = batch.words()
    return batch.hashes(words), words.documents


def _runs(
    hashes: NDArray[np.uint64], documents: NDArray[np.int64], size: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash and text number of every run of `size` words within one text."""
    if len(hashes) < size:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    inside = documents[: len(documents) - size + 1] == documents[size - 1 :]
    return hash_runs(hashes, size)[inside], documents[: len(documents) - size + 1][inside]
