"""How much of a text repeats itself: lines, paragraphs and runs of words (Rae et al. 2021, appendix A.1.1).

Shares are of bytes, which stand for characters. Spans are those of a whole batch; results are (N,), one value a text.
"""

from __future__ import annotations

import numpy as np

from tasks.text.shingles import hash_runs
from tasks.text.spans import Spans, TextBatch, mix64, sum_by_offsets

_TEXT_BITS = np.uint64(20)  # of a 64-bit key, for the number of the text; the rest for a hash
_HASH_BITS = np.uint64(64) - _TEXT_BITS


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; 0 where there is nothing to take a part of."""
    return part / np.maximum(whole, 1)


def offsets_of(spans: Spans, num_texts: int) -> np.ndarray:
    """Where the spans of each text begin, (N + 1,)."""
    return np.searchsorted(spans.documents, np.arange(num_texts + 1))


def seen_before(hashes: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """True for each hash that stands earlier in the same text, (S,)."""
    keys = mix64(hashes + texts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    again = np.zeros(len(keys), bool)
    again[order[1:]] = ordered[1:] == ordered[:-1]
    return again


def share_repeated(batch: TextBatch, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    """Of spans that stood before in the same text: their share in number, and in bytes."""
    again = seen_before(batch.hashes(spans), spans.documents)
    offsets = offsets_of(spans, len(batch))
    repeated = sum_by_offsets(np.where(again, spans.lengths, 0), offsets)
    in_bytes = share(repeated, sum_by_offsets(spans.lengths, offsets))
    return share(sum_by_offsets(again, offsets), np.diff(offsets)), in_bytes


class WordRuns:
    """Runs of `size` words within one text: `keys` (R,) of text and hash, `starts` (R,) as numbers of their first
    words."""

    def __init__(self, words: Spans, hashes: np.ndarray, size: int) -> None:
        self.size, self.words = size, words
        count = max(len(words) - size + 1, 0)
        runs = hash_runs(hashes, size) if count else np.zeros(0, np.uint64)
        texts = words.documents[:count]
        self.starts = np.flatnonzero(texts == words.documents[len(words) - count :])
        self.keys = runs[self.starts] >> _TEXT_BITS | texts[self.starts].astype(np.uint64) << _HASH_BITS

    def share_repeated(self, num_words: np.ndarray) -> np.ndarray:
        """Share of the runs that stood before in the same text. num_words: of each text, (N,)."""
        keys = np.sort(self.keys)
        repeats = keys[1:][keys[1:] == keys[:-1]] >> _HASH_BITS
        repeated = np.bincount(repeats.astype(np.int64), minlength=len(num_words))
        return share(repeated, np.maximum(num_words - self.size + 1, 0))

    def share_of_most_frequent(self, text_bytes: np.ndarray) -> np.ndarray:
        """Share of a text's bytes in its most frequent run, the longest of several; 0 where none stands twice.

        text_bytes: of each text, (N,). Repeats that overlap count in full, as in the paper.
        """
        order = np.argsort(self.keys, kind="stable")
        keys = self.keys[order]
        firsts = np.flatnonzero(np.concatenate((np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1])))
        counts = np.diff(np.append(firsts, len(keys)))
        begins = self.starts[order[firsts]]
        last = begins + self.size - 1
        sizes = self.words.starts[last] + self.words.lengths[last] - self.words.starts[begins]
        texts = self.words.documents[begins]
        best = np.lexsort((sizes, counts, texts))
        ends = np.searchsorted(texts[best], np.arange(len(text_bytes)), "right")
        has_runs = ends > np.searchsorted(texts[best], np.arange(len(text_bytes)))
        result = np.zeros(len(text_bytes))
        chosen = best[ends[has_runs] - 1]
        result[has_runs] = np.where(counts[chosen] > 1, counts[chosen] * sizes[chosen], 0)
        return np.minimum(share(result, text_bytes), 1.0)

    def share_covered_by_repeats(self, num_texts: int) -> np.ndarray:
        """Share of the bytes of words that lie in a run that stood before in the same text, each word once."""
        again = self.starts[seen_before(self.keys, self.words.documents[self.starts])]
        edges = np.zeros(len(self.words) + 1, np.int64)
        np.add.at(edges, again, 1)
        np.add.at(edges, again + self.size, -1)
        covered = np.cumsum(edges[:-1]) > 0
        offsets = offsets_of(self.words, num_texts)
        held = sum_by_offsets(np.where(covered, self.words.lengths, 0), offsets)
        return share(held, sum_by_offsets(self.words.lengths, offsets))
