"""How likely each language is for each text, in one pass: the loop of language.py, compiled by numba.

Nearly all its time is spent waiting for memory. So many texts walk through the automaton side by side, each waiting for
its own next state. What they met is sorted by feature and then by text, so that the weights of a text, read as the
16-bit numbers that they are, add up in registers, in the order of the features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from model import vectors
from model.pointers import halves, words
from model.whole_vectors import LANES as NUMBERS
from model.whole_vectors import (
    add,
    append,
    bits_of_both,
    bits_of_either,
    gather,
    gather_bytes,
    load,
    repeat,
    shift_up,
    smaller,
    store,
    subtract,
    sum_rows,
)  # fmt: skip

LANES = 4 * NUMBERS  # texts that walk side by side
ID_BITS = np.uint32(17)  # of the number of a feature
TEXT_BITS = np.uint32(9)
BLOCK = 1 << 9  # texts that are sorted together; as many fit into the processor's cache
VECTORS = 9  # of classes, of which the model has 142
WIDTH = VECTORS * NUMBERS
# What is met is a key: the number of the feature in the highest bits, and that of the text in its block in the lowest.
_LAST_TEXT = np.uint32(BLOCK - 1)
_DIGIT_BITS, _DIGIT = np.uint32(9), np.uint32((1 << 9) - 1)  # the lower bits of a feature; 8 are left
_NO_FEATURE, _NO_MORE, _ONE_MORE = np.uint32((1 << 32) - 1), np.uint32(0), np.uint32(1)
_SMALL_A, _SMALL_Z = ord("a"), ord("z")
_SIGN = np.uint16(1 << 15)
_SCALE = np.float32(-(2.0**112))  # which `sum_rows` leaves out, and the sign
_AHEAD = 16  # features between the one whose weights are added and the one whose weights are asked for


def as_magnitudes(weights: np.ndarray) -> np.ndarray:
    """The bits of negative float16 numbers, (F, C), without the sign, with zeros up to VECTORS whole ones, uint16.

    Raises ValueError if one is not negative, or of another type."""
    bits = weights.view(np.uint16)  # compared as such, since half floats are compared one by one
    if weights.dtype != np.float16 or not (bits > _SIGN).all():
        raise ValueError("the weights of a language model are logarithms of probabilities, float16")
    return np.pad(bits & ~_SIGN, ((0, 0), (0, WIDTH - weights.shape[1])))


@njit(nogil=True, error_model="numpy")
def score_classes(
    data: Any, offsets: Any, order: Any, moves: Any, rows: Any, features: Any, magnitudes: Any, priors: Any, logs: Any,
    doubles: Any,
) -> Any:  # fmt: skip
    """As `Identifier.scores`, (N, 16 · VECTORS) float32, −∞ for what is no class; and as `Identifier._likeliest`, but
    for how its sums are rounded.

    order: the texts by their length, (N,); magnitudes: of the weights, as `as_magnitudes` gives them; priors, doubles:
    of the classes; logs: log(1 + n) of each n up to the bytes of the longest text."""
    num_texts, most = len(offsets) - 1, 1
    for first in range(0, num_texts, BLOCK):
        size = 0
        for text in order[first : first + BLOCK]:
            size += offsets[text + 1] - offsets[text]
        most = max(most, size)
    scores, best, chance = _table(num_texts), np.empty(num_texts, np.int64), np.empty(num_texts, np.float32)
    padded, without = _table(1)[0], _table(1)[0]  # what is added to the weights, and where there are none
    padded[:], without[:] = -np.inf, -np.inf
    padded[: len(priors)], without[: len(priors)] = priors, 0
    keys, met, counts = _numbers(most), _numbers(most), _numbers(most)
    scaled, chances = logs * _SCALE, np.empty(WIDTH, np.float32)
    for first in range(0, num_texts, BLOCK):
        block = order[first : first + BLOCK]
        count = find_features(data, offsets, block, moves, rows, features, keys)
        begins, ends = sort_by_text(keys[:count], met, counts)
        for place in range(len(block)):
            text, begin, end = block[place], begins[place], ends[place]
            row = words(scores[text].ctypes.data)
            sum_rows(
                VECTORS, halves(magnitudes.ctypes.data), met.ctypes.data, words(scaled.ctypes.data),
                counts.ctypes.data, begin, end, _AHEAD, row,
            )  # fmt: skip
            others = words((padded if end > begin else without).ctypes.data)
            for number in range(0, WIDTH, NUMBERS):
                vectors.store(row, number, vectors.add(vectors.load(row, number), vectors.load(others, number)))
            best[text], chance[text] = _likeliest(row, offsets[text + 1] - offsets[text], doubles, chances)
    return scores, best, chance


@njit(nogil=True, error_model="numpy")
def lack_small_letters(data: Any, offsets: Any) -> Any:
    """Whether each text has none of ASCII's small letters, (N,) bool."""
    result = np.ones(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        for place in range(offsets[text], offsets[text + 1]):
            if _SMALL_A <= data[place] <= _SMALL_Z:
                result[text] = False
                break
    return result


@njit(nogil=True, error_model="numpy")
def _table(rows: int) -> Any:
    return np.empty((rows, WIDTH), np.float32)


@njit(nogil=True, error_model="numpy")
def _numbers(most: int) -> Any:
    """Room for the features of a block of so many bytes, and for what is read and written beyond them."""
    return np.empty(most + BLOCK + NUMBERS + _AHEAD, np.uint32)


@njit(nogil=True, error_model="numpy")
def _likeliest(row: Any, size: int, doubles: Any, chances: Any) -> Any:
    """Of a text of so many bytes, given its scores: the likeliest class, and its probability. chances: overwritten."""
    scale, target = vectors.repeat(np.sqrt(np.float32(max(size, 1)))), words(chances.ctypes.data)
    highest = vectors.divide(vectors.load(row, 0), scale)
    for number in range(0, WIDTH, NUMBERS):
        scaled = vectors.divide(vectors.load(row, number), scale)
        vectors.store(target, number, scaled)
        highest = vectors.larger(highest, scaled)
    top = vectors.repeat(vectors.largest(highest))
    sums = vectors.repeat(np.float32(0))
    for number in range(0, WIDTH, NUMBERS):
        each = vectors.exp(vectors.subtract(vectors.load(target, number), top))
        vectors.store(target, number, each)
        sums = vectors.add(sums, each)
    most = np.float32(1)  # of what the probabilities are in proportion to
    for one, other in doubles:
        chances[one] += chances[other]
        chances[other] = 0
        most = max(most, chances[one])
    best = 0
    while chances[best] < most:
        best += 1
    return best, most / vectors.total(sums)


@njit(nogil=True, error_model="numpy")
def find_features(data: Any, offsets: Any, block: Any, moves: Any, rows: Any, features: Any, keys: Any) -> Any:
    """The features of the texts of a block, given by their rows, (B,), from the shortest to the longest: a key for each
    time that one occurs, in no order. Gives how many."""
    begins, sizes = np.empty(LANES, np.int32), np.empty(LANES, np.int32)
    states, places = np.empty(LANES, np.int32), np.empty(LANES, np.int32)
    last, count = repeat(np.int32(len(data) - 4)), 0  # where four bytes can be read
    for first in range(0, len(block), LANES):
        longest = 0
        for lane in range(LANES):
            place = min(first + lane, len(block) - 1)
            size = offsets[block[place] + 1] - offsets[block[place]] if first + lane < len(block) else 0
            begins[lane], sizes[lane], states[lane], places[lane] = offsets[block[place]], size, 0, place
            longest = max(longest, size)
        for step in range(longest):
            for lane in range(0, LANES, NUMBERS):
                here = smaller(add(load(begins.ctypes.data, lane), repeat(np.int32(step))), last)
                byte = bits_of_both(gather_bytes(data.ctypes.data, here), repeat(np.int32(0xFF)))
                move = add(gather(rows.ctypes.data, load(states.ctypes.data, lane)), byte)
                state = gather(moves.ctypes.data, move)
                store(states.ctypes.data, lane, state)
                feature = gather(features.ctypes.data, state)
                key = bits_of_either(shift_up(feature, repeat(np.int32(TEXT_BITS))), load(places.ctypes.data, lane))
                left = subtract(load(sizes.ctypes.data, lane), repeat(np.int32(step + 1)))
                count = append(keys.ctypes.data, count, key, bits_of_either(feature, left))  # if neither is negative
    return count


@njit(nogil=True, error_model="numpy")
def sort_by_text(keys: Any, met: Any, counts: Any) -> Any:
    """The features of each text in order, each once, in `met`, and how often it occurs, in `counts`; gives where those
    of each text begin and end, each (BLOCK,). The keys, (K,), are lost; both others are at least K + BLOCK.

    Sorted by the lower digit of the feature, then by the higher one, then by text (LSD radix sort)."""
    lower, upper, texts = np.zeros(1 << 9, np.uint32), np.zeros(1 << 8, np.uint32), np.zeros(BLOCK, np.uint32)
    for key in keys:
        feature = key >> TEXT_BITS
        lower[feature & _DIGIT] += _ONE_MORE
        upper[feature >> _DIGIT_BITS] += _ONE_MORE
        texts[key & _LAST_TEXT] += _ONE_MORE
    _begin(lower)
    _begin(upper)
    for key in keys:
        digit = key >> TEXT_BITS & _DIGIT
        met[lower[digit]] = key
        lower[digit] += _ONE_MORE
    for key in met[: len(keys)]:
        digit = key >> (TEXT_BITS + _DIGIT_BITS)
        keys[upper[digit]] = key
        upper[digit] += _ONE_MORE
    begins, before = np.empty(BLOCK, np.int64), _NO_MORE
    for text in range(BLOCK):  # before the features of each stands what is none
        met[before] = _NO_FEATURE
        begins[text] = before + _ONE_MORE
        here, texts[text] = texts[text], before + _ONE_MORE
        before += here + _ONE_MORE
    for key in keys:
        text, feature = key & _LAST_TEXT, key >> TEXT_BITS
        # No jump: which features occur again no processor can foresee.
        again = _ONE_MORE if met[texts[text] - _ONE_MORE] == feature else _NO_MORE
        place = texts[text] - again
        met[place], counts[place] = feature, counts[place] * again + _ONE_MORE
        texts[text] = place + _ONE_MORE
    return begins, texts


@njit(nogil=True, error_model="numpy")
def _begin(counts: Any) -> None:
    """Turn how many there are of each digit into where they begin."""
    before = _NO_MORE
    for digit in range(len(counts)):
        here, counts[digit] = counts[digit], before
        before += here
