"""Pre-tokens by GPT-2's pattern in one pass over each text, and their ids put together: loops compiled by numba. How
texts are given, kernels.py says; the pattern and its classes stand in pretokens.py, with what numpy does instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text.kernels import (
    EIGHT,
    FOUR,
    LONG,
    LOWS,
    NONE,
    ONE,
    TWO,
    character_at,
    find_words,
    hash_word,
    is_ascii,
    zero_bytes,
)

SPACE = np.uint64(3)  # as in pretokens.py
FEW = FOUR
BLANK, APOSTROPHE = ord(" "), ord("'")
APOSTROPHES = np.uint64(APOSTROPHE) * LOWS
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
def mark(data: Any, begin: Any, end: Any, classes: Any, kinds: Any, starts: Any) -> None:
    """Set starts, (B,) uint8, all 0 before, to 1 where a pre-token of a text begins, contractions aside. Without a
    branch for a word: where words end no processor can foresee. kinds: room for as many bytes, uint8."""
    if begin >= end:
        return
    if is_ascii(data, begin, end):
        mark_ascii(data, begin, end, classes, kinds, starts)
        return
    place, before, width = begin, SPACE, NONE
    starts_here, last = np.uint8(1), begin
    while place < end:
        if data[place] < 0x80:
            kind, width = np.uint64(classes[data[place]]), ONE
        else:
            kind, width = character_at(data, place, classes)
        if place > begin:
            # The last of several spaces begins a pre-token, with what is behind it where it is a blank.
            starts[last] = starts_here | ((before == SPACE) & (kind != SPACE))
            starts_here = np.uint8((kind != before) & (data[place - ONE] != BLANK))
        last, before = place, kind
        place += width
    starts[last] = starts_here


@njit(nogil=True, error_model="numpy")
def mark_ascii(data: Any, begin: Any, end: Any, classes: Any, kinds: Any, starts: Any) -> None:
    """As `mark`, of a text of which each byte is a character: many bytes at once."""
    size = end - begin
    for place in range(size):
        kinds[place] = classes[data[begin + place]]
    kinds[size] = SPACE  # as behind the last byte no pre-token begins
    starts[begin] = ONE
    for place in range(ONE, size):
        changes = (kinds[place] != kinds[place - ONE]) & (data[begin + place - ONE] != BLANK)
        starts[begin + place] = changes | ((kinds[place] == SPACE) & (kinds[place + ONE] != SPACE))


@njit(nogil=True, error_model="numpy")
def mark_contractions(data: Any, loads: Any, begin: Any, end: Any, starts: Any) -> None:
    """Let a contraction be a pre-token where one begins at its apostrophe."""
    for first in range(begin, end, EIGHT):
        if zero_bytes(loads[first] ^ APOSTROPHES):
            for place in range(first, min(first + EIGHT, end)):
                if data[place] == APOSTROPHE and starts[place]:
                    short = contraction(data, place, end)
                    if short:
                        starts[place + ONE] = 0
                        if place + short < end:
                            starts[place + short] = 1


@njit(nogil=True, error_model="numpy")
def cut(data: Any, loads: Any, offsets: Any, classes: Any) -> Any:
    """Pre-tokens of all texts: starts and lengths, (S,) int64, hashes, (S,) uint64 (of more than LONG bytes left open),
    and how many each text has, (N,) int64."""
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    begins, kinds = np.zeros(offsets[-1], np.uint8), np.empty(longest + 1, np.uint8)
    counts = np.zeros(len(offsets) - 1, np.int64)
    for text in range(len(offsets) - 1):
        begin, end = np.uint64(offsets[text]), np.uint64(offsets[text + 1])
        mark(data, begin, end, classes, kinds, begins)
        mark_contractions(data, loads, begin, end, begins)
        count = NONE
        for place in range(begin, end):
            count += begins[place]
        counts[text] = count
    total = counts.sum()
    starts, lengths, hashes = np.empty(total + 1, np.int64), np.empty(total, np.int64), np.empty(total, np.uint64)
    words: Any = 0
    for place in range(len(begins)):
        starts[words] = place
        words += begins[place]
    starts[total] = len(begins)
    for word in range(total):
        length = starts[word + 1] - starts[word]
        lengths[word] = length
        hashes[word] = hash_word(data, loads, np.uint64(starts[word]), np.uint64(length)) if length <= LONG else NONE
    return starts[:total], lengths, hashes, counts


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
def join_ids(numbers: Any, sizes: Any, counts: Any, begins: Any, ids: Any) -> Any:
    """Ids of all texts end to end, (T,) int32, and how many each has, (N,) int64. numbers: of the words, (S,); sizes:
    how many of them each text has, (N,). ids[begins[n] : begins[n] + counts[n]] are those of the word of number n;
    there must be FEW more behind the last."""
    total: Any = 0
    for number in numbers:
        total += counts[number]
    result, per_text = np.empty(total + FEW, np.int32), np.zeros(len(sizes), np.int64)
    first, written = NONE, NONE
    for text in range(len(sizes)):
        before, after = written, first + np.uint64(sizes[text])
        for word in range(first, after):
            number = np.uint64(numbers[word])
            begin, count = np.uint64(begins[number]), np.uint64(counts[number])
            for step in range(FEW):  # as many as most words have at most: how many no processor can foresee
                result[written + step] = ids[begin + step]
            for step in range(FEW, count):
                result[written + step] = ids[begin + step]
            written += count
        per_text[text] = written - before
        first = after
    return result[:total], per_text


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


@njit(nogil=True, error_model="numpy")
def count_tokens(ids: Any, lengths: Any, partial: Any, used: Any) -> Any:
    """How many ids of each text, (N,) int64, are of the tokens marked in partial, (V,) bool. ids: end to end, (T,);
    lengths: how many each text has, (N,). Each id's uses are added to used, (V,) int64."""
    result, first = np.zeros(len(lengths), np.int64), 0
    for text in range(len(lengths)):
        for place in range(first, first + lengths[text]):
            number = ids[place]
            used[number] += 1
            result[text] += partial[number]
        first += lengths[text]
    return result
