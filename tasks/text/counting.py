"""What `clean` measures of texts, in one pass over each: loops compiled by numba. How texts are given, kernels.py says;
the values are those that numpy gives (features.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text import spans
from tasks.text.kernels import (
    LONG,
    MOST_MOVES,
    MULTIPLIER,
    NONE,
    ONE,
    SPACE,
    UNSPACED,
    character_at,
    hash_word,
    mix64,
)

LETTER, DIGIT = np.uint64(spans.LETTER), np.uint64(spans.DIGIT)
CHARS, VISIBLE, LETTERS, DIGITS, UNSPACED_CHARS, WORDS, WORDED = range(7)  # columns of what `count` counts
LINES, LINE_BYTES, LINES_REPEATED, BYTES_REPEATED, LINES_IN_ELLIPSES = range(5)  # of what `count_lines` counts
VERY_LONG = 100  # bytes of a word that may be a piece of an encoded file
NEWLINE = ord("\n")
THREE_BYTES, THREE_DOTS, ELLIPSIS = (
    np.uint64(int.from_bytes(end, "little")) for end in (b"\xff\xff\xff", b"...", "\u2026".encode())
)


@njit(nogil=True, error_model="numpy")
def count(data: Any, loads: Any, offsets: Any, classes: Any) -> Any:
    """Characters and words, as `Features` counts them.

    counts: (N, 7) int64. hashes: of the words of all texts, (W,) uint64; those of more than LONG bytes are left open.
    long_words: number, first byte and length of each word of more than VERY_LONG bytes, (L, 3) int64.
    """
    num_texts = len(offsets) - 1
    counts = np.zeros((num_texts, 7), np.int64)
    hashes = np.empty(offsets[-1] // 2 + num_texts, np.uint64)
    long_words = np.empty((offsets[-1] // VERY_LONG + 1, 3), np.int64)
    words: Any = 0
    num_long = 0
    for text in range(num_texts):
        place, end = np.uint64(offsets[text]), np.uint64(offsets[text + 1])
        before: Any = words
        worded: Any = 0
        chars = visible = letters = digits = unspaced = NONE
        start, inside, letter = place, NONE, NONE  # of the word that goes on
        while True:
            bits, size = SPACE, ONE
            if place < end:
                bits, size = character_at(data, place, classes)
                chars += ONE
            alone = bits & UNSPACED
            if inside and bits & (SPACE | UNSPACED):
                length = np.int64(place - start)
                hashes[words] = hash_word(data, loads, np.int64(start), length) if length <= LONG else NONE
                if length > VERY_LONG:
                    long_words[num_long, 0], long_words[num_long, 1], long_words[num_long, 2] = words, start, length
                    num_long += 1
                worded += letter > NONE
                words += 1
                inside = NONE
            if place >= end:
                break
            if not bits & SPACE:
                visible += ONE
                is_letter = bits & LETTER
                letters += is_letter
                digits += (bits & DIGIT) >> ONE
                if alone:
                    unspaced += ONE
                    hashes[words] = hash_word(data, loads, np.int64(place), np.int64(size))
                    worded += is_letter > NONE
                    words += 1
                else:
                    if not inside:
                        start, inside, letter = place, ONE, NONE
                    letter |= is_letter
            place += size
        counts[text, CHARS], counts[text, VISIBLE], counts[text, LETTERS] = chars, visible, letters
        counts[text, DIGITS], counts[text, UNSPACED_CHARS] = digits, unspaced
        counts[text, WORDS], counts[text, WORDED] = words - before, worded
    return counts, hashes[:words].copy(), long_words[:num_long].copy()


@njit(nogil=True, error_model="numpy")
def count_lines(data: Any, loads: Any, offsets: Any) -> Any:
    """Lines, as `Features` counts them, (N, 5) int64; and whether that could be done here, as it can with hashes that
    differ by chance."""
    num_texts, most = len(offsets) - 1, 1
    result = np.zeros((num_texts, 5), np.int64)
    for text in range(num_texts):
        lines = 1
        for place in range(offsets[text], offsets[text + 1]):
            lines += data[place] == NEWLINE
        most = max(most, lines)
    bits = 1
    while 1 << bits < 2 * most:
        bits += 1
    keys, holders, mask = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int64), np.uint64((1 << bits) - 1)
    for text in range(num_texts):
        start, moves = offsets[text], 0
        for place in range(offsets[text], offsets[text + 1] + 1):
            if place < offsets[text + 1] and data[place] != NEWLINE:
                continue
            length = place - start
            if length:
                key = hash_word(data, loads, start, length)
                slot = key & mask
                while holders[slot] == text and keys[slot] != key:
                    slot = (slot + ONE) & mask
                    moves += 1
                    if moves > MOST_MOVES * (result[text, LINES] + 1):
                        return result, False
                result[text, LINES] += 1
                result[text, LINE_BYTES] += length
                if holders[slot] == text:
                    result[text, LINES_REPEATED] += 1
                    result[text, BYTES_REPEATED] += length
                holders[slot], keys[slot] = text, key
                if length >= 3:
                    last = loads[place - 3] & THREE_BYTES
                    result[text, LINES_IN_ELLIPSES] += last in (THREE_DOTS, ELLIPSIS)
            start = place + 1
    return result, True


@njit(nogil=True, error_model="numpy")
def count_repeated_runs(hashes: Any, offsets: Any, size: int) -> Any:
    """How many runs of `size` words of each text stood before in it, (N,) int64, as `WordRuns.share_repeated` counts
    them; and whether that could be done here, as it can with hashes that differ by chance. hashes: of the words, (W,)
    uint64; offsets: where those of each text begin, (N + 1,)."""
    result, longest = np.zeros(len(offsets) - 1, np.int64), 1
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    bits = 1
    while 1 << bits < 2 * longest:
        bits += 1
    keys, holders = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int64)
    powers = np.ones(size, np.uint64)
    for step in range(1, size):
        powers[step] = powers[step - 1] * MULTIPLIER
    for text in range(len(offsets) - 1):
        bits = 1
        while 1 << bits < 2 * (offsets[text + 1] - offsets[text]):
            bits += 1
        mask, moves = np.uint64((1 << bits) - 1), 0
        for first in range(offsets[text], offsets[text + 1] - size + 1):
            rolled = hashes[first]
            for step in range(1, size):
                rolled += hashes[first + step] * powers[step]
            key = mix64(rolled) >> np.uint64(20)  # as many bits as are compared there
            slot = key & mask
            while holders[slot] == text and keys[slot] != key:
                slot = (slot + ONE) & mask
                moves += 1
                if moves > MOST_MOVES * (offsets[text + 1] - offsets[text]):
                    return result, False
            if holders[slot] == text:
                result[text] += 1
            holders[slot], keys[slot] = text, key
    return result, True
