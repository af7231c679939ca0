"""How likely each language is for each text, in one pass: the loop of language.py, compiled by numba.

Nearly all its time is spent waiting for memory. So several texts walk through the automaton side by side, each waiting
for its own next state; the weights are read as the 16-bit numbers that they are, those of a feature for many texts at
once, since texts of one language share most of their features, and those of the next features are asked for meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from model.pointers import fetch, halves, moved, words
from model.vectors import LANES as NUMBERS
from model.vectors import add, load, load_half, multiply, repeat, store
from tasks.text.kernels import NONE, sort

LANES = 8  # texts that walk side by side
ID_BITS = np.uint32(17)  # of the number of a feature
BLOCK_BITS = np.uint32(10)
BLOCK = 1 << 10  # texts whose scores are added up together; as many fit into the processor's cache
# A hit is a key of 32 bits: the number of the feature in the highest ones, so that it is spread out, as `sort` wants
# it, and that of the text in its block behind.
_SHIFT = np.uint32(32) - ID_BITS
_TEXT_SHIFT = _SHIFT - BLOCK_BITS
_LAST_TEXT = np.uint32(BLOCK - 1)
_SIGN = np.uint16(1 << 15)
_SCALE = np.float32(-(2.0**112))  # which `load_half` leaves out, and the sign
_AHEAD = 16  # keys between the one whose weights are added and the one whose weights are asked for
_LINE = 32  # weights that memory gives at once


def as_magnitudes(weights: np.ndarray) -> np.ndarray:
    """The bits of negative float16 numbers, (F, C), without the sign, with zeros up to whole vectors, uint16.

    Raises ValueError if one is not negative, or of another type."""
    bits = weights.view(np.uint16)  # compared as such, since half floats are compared one by one
    if weights.dtype != np.float16 or not (bits > _SIGN).all():
        raise ValueError("the weights of a language model are logarithms of probabilities, float16")
    missing = -weights.shape[1] % NUMBERS
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
    first, end, width = 0, len(keys), scores.shape[1]
    while first < end:
        key, after = keys[first], first + 1
        while after < end and keys[after] == key:
            after += 1
        soon = moved(halves(magnitudes.ctypes.data), width * np.int64(keys[min(first + _AHEAD, end - 1)] >> _SHIFT))
        for number in range(0, width, _LINE):
            fetch(soon, number)
        value, row = repeat(logs[after - first] * _SCALE), magnitudes[key >> _SHIFT].ctypes.data
        score = scores[key >> _TEXT_SHIFT & _LAST_TEXT].ctypes.data
        for number in range(0, width, NUMBERS):
            more = multiply(value, load_half(halves(row), number))
            store(words(score), number, add(load(words(score), number), more))
        first = after
