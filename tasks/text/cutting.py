"""Pre-tokens by GPT-2's pattern in one pass over each text, and their ids put together: loops compiled by numba. How
texts are given, kernels.py says; the pattern and its classes stand in pretokens.py, with what numpy does instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text.kernels import LONG, NONE, ONE, TWO, character_at, find_words, hash_word

SPACE = np.uint64(3)  # as in pretokens.py
BLANK, APOSTROPHE = ord(" "), ord("'")
S, T, R, V, E, M, L, D = b"strvemld"


@njit(nogil=True, error_model="numpy")
def contraction(data: Any, place: Any, end: Any) -> Any:
    """Bytes of the contraction ('s, 'll, …) that begins at a byte, uint64; 0 where there is none."""
    if data[place] != APOSTROPHE or place + ONE >= end:
        return NONE
    first = data[place + ONE]
    if first in (S, T, M, D):
        return TWO
    if place + TWO < end:
        second = data[place + TWO]
        if (second == E and first in (R, V)) or (second == L and first == L):
            return TWO + ONE
    return NONE


@njit(nogil=True, error_model="numpy")
def word_end(data: Any, place: Any, end: Any, classes: Any) -> Any:
    """Where the pre-token that begins at a byte ends, uint64."""
    short = contraction(data, place, end)
    if short:
        return place + short
    kind, size = character_at(data, place, classes)
    after = place + size
    if kind == SPACE:
        if after >= end:
            return after
        following, size = character_at(data, after, classes)
        if following == SPACE:
            last = after
            while following == SPACE:
                last = after
                after += size
                if after >= end:
                    return after
                following, size = character_at(data, after, classes)
            return last  # the last one goes with what is behind it, or alone
        if data[place] != BLANK:
            return after
        kind, after = following, after + size
    while after < end:
        following, size = character_at(data, after, classes)
        if following != kind:
            break
        after += size
    return after


@njit(nogil=True, error_model="numpy")
def cut(data: Any, loads: Any, offsets: Any, classes: Any) -> Any:
    """Pre-tokens of all texts: starts and lengths, (S,) int64, hashes, (S,) uint64 (of more than LONG bytes left open),
    and how many each text has, (N,) int64."""
    most = offsets[-1]
    starts, lengths = np.empty(most, np.int64), np.empty(most, np.int64)
    hashes, counts = np.empty(most, np.uint64), np.zeros(len(offsets) - 1, np.int64)
    words: Any = 0
    for text in range(len(offsets) - 1):
        before: Any = words
        place, end = np.uint64(offsets[text]), np.uint64(offsets[text + 1])
        while place < end:
            after = word_end(data, place, end, classes)
            length = np.int64(after - place)
            starts[words], lengths[words] = place, length
            hashes[words] = hash_word(data, loads, np.int64(place), length) if length <= LONG else NONE
            words += 1
            place = after
        counts[text] = words - before
    return starts[:words].copy(), lengths[:words].copy(), hashes[:words].copy(), counts


@njit(nogil=True, error_model="numpy")
def number_words(hashes: Any, first: Any, found: Any, new: Any, keys: Any, numbers: Any, held: Any) -> Any:
    """Look the words from `first` on up in a `WordTable` that holds so many, and enter those it does not hold under the
    next numbers: their numbers go to found, (S,) int32, the places of the new ones to new, (≥ S,) int64, after those
    that are there. Gives the first word that was not looked up, since the table is half full, and how many it holds."""
    mask, before = np.uint64(len(keys) - 1), held
    for word in range(first, len(hashes)):
        key = hashes[word]
        slot = key & mask
        while numbers[slot] >= 0 and keys[slot] != key:
            slot = (slot + ONE) & mask
        if numbers[slot] < 0:
            if 2 * held >= len(keys):
                return word, held
            keys[slot], numbers[slot] = key, held
            new[held - before] = word
            held += 1
        found[word] = numbers[slot]
    return len(hashes), held


@njit(nogil=True, error_model="numpy")
def join_ids(numbers: Any, documents: Any, num_texts: int, counts: Any, begins: Any, ids: Any) -> Any:
    """Ids of all texts end to end, (T,) int32, and how many each has, (N,) int64. numbers, documents: of the words, and
    the text that each belongs to, (S,). ids[begins[n] : begins[n] + counts[n]] are those of the word of number n."""
    total: Any = 0
    for number in numbers:
        total += counts[number]
    result, sizes = np.empty(total, np.int32), np.zeros(num_texts, np.int64)
    written: Any = 0
    for word in range(len(numbers)):
        number = numbers[word]
        begin = begins[number]
        for step in range(counts[number]):
            result[written] = ids[begin + step]
            written += 1
        sizes[documents[word]] += counts[number]
    return result, sizes


@njit(nogil=True, error_model="numpy")
def count_words(data: Any, offsets: Any, classes: Any) -> Any:
    """How many words, as `TextBatch.words` finds them, each text has, (N,) int64."""
    longest: Any = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    edges, result = np.empty(2 * (longest // 2 + 1) + 2, np.uint64), np.zeros(len(offsets) - 1, np.int64)
    for text in range(len(offsets) - 1):
        num_edges = find_words(data, np.uint64(offsets[text]), np.uint64(offsets[text + 1]), classes, edges)
        result[text] = np.int64(num_edges) // 2
    return result
