"""The baseline a language model must beat: interpolated modified Kneser–Ney trigrams (Chen & Goodman 1998, section 3).

    p3(w|uv) = max(c(uvw) - D(c(uvw)), 0) / c(uv·) + γ(uv) p2(w|v)
    p2(w|v)  = max(n(·vw) - D(n(·vw)), 0) / n(·v·) + γ(v) p1(w)
    p1(w)    = max(n(·w) - D(n(·w)), 0) / n(··) + γ / V

c counts trigrams; n counts the distinct tokens seen before; γ is the mass the discounts freed, so each sums to one over
the V tokens. A context never seen passes everything to the order below. D has three values, for counts 1, 2 and ≥3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
STAND_INS = 0.75, 1.0, 1.25  # of discounts


def trigrams(tokens: NDArray[np.integer], document_end: int) -> Integers:
    """(N, 3): for each token its two predecessors and itself. Before a document stand two end tokens, so that nothing
    of one document predicts the next."""
    words = np.asarray(tokens, dtype=np.int64)
    before = np.concatenate([[document_end], words[:-1]])[: len(words)]
    earlier = np.concatenate([[document_end], before[:-1]])[: len(words)]
    return np.stack([np.where(before == document_end, document_end, earlier), before, words], axis=1)


def window_trigrams(rows: NDArray[np.integer], document_end: int) -> Integers:
    """(N·(W-2), 3): the trigrams that end at the third and later tokens of each row (N, W) of a stream of documents."""
    words = np.asarray(rows, dtype=np.int64)
    earlier, before, last = words[:, :-2], words[:, 1:-1], words[:, 2:]
    grams = np.stack([np.where(before == document_end, document_end, earlier), before, last], axis=2)
    return grams.reshape(-1, 3)


@dataclass(frozen=True)
class _Order:
    """One order: discounted shares by n-gram key, and the mass left for the order below by context key."""

    keys: Integers  # sorted n-gram keys
    shares: Floats  # max(count - D, 0) / total of the context
    contexts: Integers  # sorted context keys
    rest: Floats  # γ of each context


def _lookup(keys: Integers, values: Floats, wanted: Integers, default: float) -> Floats:
    if not len(keys):
        return np.full(len(wanted), default)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], default)


def discounts(counts: Integers) -> tuple[float, float, float]:
    """D for counts 1, 2 and ≥3, from the numbers of n-grams seen once, twice, three and four times (Chen & Goodman,
    equation 17). Where one can't be told, or would free nothing, so that what was never seen would be impossible, 0.75,
    1 and 1.25 stand in."""
    once, twice, thrice, four = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not once or not twice:
        return STAND_INS
    share = once / (once + 2 * twice)
    second = 2 - 3 * share * thrice / twice
    third = 3 - 4 * share * four / thrice if thrice else second
    _, other_second, other_third = STAND_INS
    return (
        1 - 2 * share * twice / once,
        min(2.0, second) if second > 0 else other_second,
        min(3.0, third) if third > 0 else other_third,
    )


def _build(keys: Integers, counts: Integers, vocabulary: int, discount: tuple[float, float, float] | None) -> _Order:
    """From sorted distinct n-gram keys (context key · V + token) and their counts."""
    d = np.array([0.0, *(discount or discounts(counts))])[np.minimum(counts, 3)]
    contexts, owner = np.unique(keys // vocabulary, return_inverse=True)
    totals = np.bincount(owner, weights=counts)
    freed = np.minimum(d, counts)
    return _Order(keys, (counts - freed) / totals[owner], contexts, np.bincount(owner, weights=freed) / totals)


class KneserNey:
    """The trained model. `discount`: one triple for every order instead of estimated ones (for tests)."""

    def __init__(self, counted: Integers, vocabulary: int, discount: tuple[float, float, float] | None = None) -> None:
        """counted: (N, 3) trigrams of the training text, as `trigrams` gives them, N ≥ 1; ids below `vocabulary`."""
        if len(counted) == 0:
            raise ValueError("an n-gram model needs at least one token to count; give it the training tokens")
        if vocabulary > 2_000_000:
            raise ValueError(f"a vocabulary of {vocabulary} makes trigram keys overflow; 2,000,000 is the most")
        self.vocabulary = vocabulary
        keys, counts = np.unique(self._key(counted), return_counts=True)
        pairs, before_pair = np.unique(keys % vocabulary**2, return_counts=True)
        words, before_word = np.unique(pairs % vocabulary, return_counts=True)
        self._orders = [
            _build(*counted_keys, vocabulary, discount)
            for counted_keys in ((words, before_word), (pairs, before_pair), (keys, counts))
        ]

    def _key(self, grams: Integers) -> Integers:
        return (grams[:, 0] * self.vocabulary + grams[:, 1]) * self.vocabulary + grams[:, 2]

    def probabilities(self, grams: Integers) -> Floats:
        """p(third | first, second) of each row of (N, 3): (N,)."""
        full = self._key(np.asarray(grams, dtype=np.int64))
        probability = np.full(len(full), 1 / self.vocabulary)
        for order, length in zip(self._orders, (1, 2, 3), strict=True):
            key = full % self.vocabulary**length
            below = _lookup(order.contexts, order.rest, key // self.vocabulary, 1.0)
            probability = _lookup(order.keys, order.shares, key, 0.0) + below * probability
        return probability

    def document_bits(self, documents: Sequence[NDArray[np.integer]], document_end: int) -> Floats:
        """The bits of all tokens of each document (N,); each must end with `document_end`, and none be empty."""
        grams = trigrams(np.concatenate(documents), document_end)
        starts = np.cumsum([0, *(len(document) for document in documents[:-1])])
        return np.add.reduceat(-np.log2(self.probabilities(grams)), starts)
