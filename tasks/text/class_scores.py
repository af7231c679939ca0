"""How likely each language is for each text, in one pass: the loop of language.py, compiled by numba.

Nearly all its time is spent waiting for memory. So several texts walk through the automaton side by side, each waiting
for its own next state, and the weights are read as the 16-bit numbers that they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text.kernels import NONE, sort

LANES = 8  # texts that walk side by side
ID_BITS = np.uint32(17)  # of the number of a feature
_SHIFT = np.uint32(32) - ID_BITS  # makes a number one that rises with it and is spread out, as `sort` wants it
_PADDED = 16  # classes: a whole number of vectors
_SIGN = np.uint16(1 << 15)
_MANTISSA = np.int32(23 - 10)  # bits that a 32-bit float has more than one of 16
_SCALE = np.float32(-(2.0 ** (127 - 15)))  # the difference of their exponents' offsets, and the sign


def as_magnitudes(weights: np.ndarray) -> np.ndarray:
    """The bits of negative float16 numbers, (F, C), without the sign, with zeros up to whole vectors, uint16.

    Raises ValueError if one is not negative, or of another type."""
    bits = weights.view(np.uint16)  # compared as such, since half floats are compared one by one
    if weights.dtype != np.float16 or not (bits > _SIGN).all():
        raise ValueError("the weights of a language model are logarithms of probabilities, float16")
    missing = -weights.shape[1] % _PADDED
    return np.pad(bits & ~_SIGN, ((0, 0), (0, missing)))


@njit(nogil=True, error_model="numpy")
def score_classes(
    data: Any, offsets: Any, order: Any, moves: Any, rows: Any, features: Any, magnitudes: Any, priors: Any, logs: Any
) -> Any:
    """As `Identifier.scores`: (N, C) float32. order: the texts by their length, (N,); magnitudes: of the weights, as
    `as_magnitudes` gives them; logs: log(1 + n) of each n up to the bytes of the longest text."""
    num_texts, num_classes, longest = len(offsets) - 1, len(priors), 1
    for text in range(num_texts):
        longest = max(longest, offsets[text + 1] - offsets[text])
    result = np.zeros((num_texts, num_classes), np.float32)
    found, scratch = np.empty((LANES, longest), np.uint32), np.empty(longest, np.uint32)
    buckets, scores = np.empty(2 * longest + 2, np.int32), np.empty(magnitudes.shape[1], np.float32)
    states, hits, begins = np.empty(LANES, np.uint64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    for first in range(0, num_texts, LANES):
        lanes = min(LANES, num_texts - first)
        shortest = offsets[order[first] + 1] - offsets[order[first]] if lanes == LANES else 0
        for lane in range(lanes):
            states[lane], hits[lane], begins[lane] = NONE, 0, offsets[order[first + lane]]
        for step in range(shortest):
            for lane in range(LANES):
                state = np.uint64(moves[np.uint64(rows[states[lane]]) + np.uint64(data[begins[lane] + step])])
                feature = features[state]
                found[lane, hits[lane]] = np.uint32(feature) << _SHIFT
                hits[lane] += feature >= 0
                states[lane] = state
        for lane in range(lanes):
            text, state, count = order[first + lane], states[lane], hits[lane]
            for place in range(begins[lane] + shortest, offsets[text + 1]):
                state = np.uint64(moves[np.uint64(rows[state]) + np.uint64(data[place])])
                feature = features[state]
                found[lane, count] = np.uint32(feature) << _SHIFT
                count += feature >= 0
            if count:
                _add_up(found[lane, :count], magnitudes, logs, scores, buckets, scratch)
                for number in range(num_classes):
                    result[text, number] = scores[number] + priors[number]
    return result


@njit(nogil=True, error_model="numpy")
def _add_up(found: Any, magnitudes: Any, logs: Any, scores: Any, buckets: Any, scratch: Any) -> None:
    """Set scores to Σ log(1 + count of the feature) · weights of the feature, in order of the features."""
    if not sort(found, buckets, scratch):
        scratch[: len(found)].sort()
        found[:] = scratch[: len(found)]
    scores[:] = 0
    first = 0
    while first < len(found):
        after = first + 1
        while after < len(found) and found[after] == found[first]:
            after += 1
        value, row = logs[after - first] * _SCALE, magnitudes[found[first] >> _SHIFT]
        for number in range(len(scores)):
            scores[number] += value * np.int32(np.int32(row[number]) << _MANTISSA).view(np.float32)
        first = after
