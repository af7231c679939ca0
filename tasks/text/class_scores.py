"""How likely each language is for each text, in one pass: the loop of language.py, compiled by numba.

Nearly all its time is spent waiting for memory. So several texts walk through the automaton side by side, each waiting
for its own next state; the weights are read as the 16-bit numbers that they are, and those of a feature for many texts
at once, since texts of one language share most of their features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text.kernels import NONE, ONE, sort

LANES = 8  # texts that walk side by side
ID_BITS = np.uint32(17)  # of the number of a feature
BLOCK_BITS = np.uint32(8)
BLOCK = 1 << 8  # texts whose scores are added up together; as many fit into the processor's cache
# A hit is a key of 32 bits: the number of the feature in the highest ones, so that it is spread out, as `sort` wants
# it, and that of the text in its block behind.
_SHIFT = np.uint32(32) - ID_BITS
_TEXT_SHIFT = _SHIFT - BLOCK_BITS
_LAST_TEXT = np.uint32(BLOCK - 1)
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
    num_texts, num_classes, most = len(offsets) - 1, len(priors), 1
    for first in range(0, num_texts, BLOCK):
        size = 0
        for text in order[first : first + BLOCK]:
            size += offsets[text + 1] - offsets[text]
        most = max(most, size)
    result = np.zeros((num_texts, num_classes), np.float32)
    keys, scratch = np.empty(most, np.uint32), np.empty(most, np.uint32)
    buckets, scores = np.empty(2 * most + 2, np.int32), np.empty((BLOCK, magnitudes.shape[1]), np.float32)
    for first in range(0, num_texts, BLOCK):
        block = order[first : first + BLOCK]
        ends = find_features(data, offsets, block, moves, rows, features, keys)
        scores[:] = 0
        _add_up(keys[: ends[-1]], magnitudes, logs, scores, buckets, scratch)
        for place in range(len(block)):
            if ends[place + 1] > ends[place]:
                for number in range(num_classes):
                    result[block[place], number] = scores[place, number] + priors[number]
    return result


@njit(nogil=True, error_model="numpy")
def find_features(data: Any, offsets: Any, block: Any, moves: Any, rows: Any, features: Any, keys: Any) -> Any:
    """The features of the texts of a block, given by their rows, (B,), from the shortest to the longest: a key for each
    time that one occurs. Gives where those of each text begin and end, (B + 1,)."""
    longest = offsets[block[-1] + 1] - offsets[block[-1]]
    found, ends = np.empty((LANES, longest), np.uint32), np.zeros(len(block) + 1, np.int64)
    states, hits, begins = np.empty(LANES, np.uint64), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    for first in range(0, len(block), LANES):
        lanes = min(LANES, len(block) - first)
        shortest = offsets[block[first] + 1] - offsets[block[first]] if lanes == LANES else 0
        for lane in range(lanes):
            states[lane], hits[lane], begins[lane] = NONE, 0, offsets[block[first + lane]]
        for step in range(shortest):
            for lane in range(LANES):
                state = np.uint64(moves[np.uint64(rows[states[lane]]) + np.uint64(data[begins[lane] + step])])
                feature = features[state]
                found[lane, hits[lane]] = np.uint32(feature) << _SHIFT
                hits[lane] += feature >= 0
                states[lane] = state
        for lane in range(lanes):
            place, state, count = first + lane, states[lane], hits[lane]
            for byte in range(begins[lane] + shortest, offsets[block[place] + 1]):
                state = np.uint64(moves[np.uint64(rows[state]) + np.uint64(data[byte])])
                feature = features[state]
                found[lane, count] = np.uint32(feature) << _SHIFT
                count += feature >= 0
            for hit in range(count):
                keys[ends[place] + hit] = found[lane, hit] | np.uint32(place) << _TEXT_SHIFT
            ends[place + 1] = ends[place] + count
    return ends


@njit(nogil=True, error_model="numpy")
def _add_up(keys: Any, magnitudes: Any, logs: Any, scores: Any, buckets: Any, scratch: Any) -> None:
    """Add log(1 + count of the feature) · weights of the feature to the scores of each text, in order of the
    features."""
    if not sort(keys, buckets, scratch):
        scratch[: len(keys)].sort()
        keys[:] = scratch[: len(keys)]
    first, end = NONE, np.uint64(len(keys))
    while first < end:
        key, after = keys[first], first + ONE
        while after < end and keys[after] == key:
            after += ONE
        value, row = logs[after - first] * _SCALE, magnitudes[key >> _SHIFT]
        score = scores[key >> _TEXT_SHIFT & _LAST_TEXT]
        for number in range(NONE, np.uint64(len(score))):
            score[number] += value * np.int32(np.int32(row[number]) << _MANTISSA).view(np.float32)
        first = after
