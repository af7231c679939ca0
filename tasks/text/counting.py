"""What `clean` measures of texts, in one pass over each: loops compiled by numba. How texts are given, kernels.py says;
the values are those that numpy gives (features.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text import spans
from tasks.text.edges import find_spaced_edges
from tasks.text.kernels import (
    LONG,
    LOWS,
    MOST_MOVES,
    MULTIPLIER,
    NONE,
    ONE,
    SPACE,
    THREE,
    TWO,
    UNSPACED,
    character_at,
    hash_word,
    is_ascii,
    mix64,
    zero_bytes,
)

LETTER, DIGIT = np.uint64(spans.LETTER), np.uint64(spans.DIGIT)
CHARS, VISIBLE, LETTERS, DIGITS, UNSPACED_CHARS, WORDS, WORDED = range(7)  # columns of what `count` counts
LINES, LINE_BYTES, LINES_REPEATED, BYTES_REPEATED, LINES_IN_ELLIPSES = range(5)  # of what `count_lines` counts
RUN_WORDS = np.uint64(5)  # of the runs of words that `count_repeated_runs` counts
VERY_LONG = 100  # bytes of a word that may be a piece of an encoded file
NEWLINE = ord("\n")
NEWLINES = np.uint64(NEWLINE) * LOWS  # in each of eight bytes
THREE_BYTES, THREE_DOTS, ELLIPSIS = (
    np.uint64(int.from_bytes(end, "little")) for end in (b"\xff\xff\xff", b"...", "\u2026".encode())
)


@njit(nogil=True, error_model="numpy")
def find_spaced_words(data: Any, place: Any, end: Any, classes: Any, edges: Any, lettered: Any, counts: Any) -> Any:
    """How many words one text has, as `count` takes them: where each begins and ends, written to `edges`, and how many
    letters stand before, written to `lettered`. What else is counted in it, (7,), is written to `counts`."""
    num_edges = inside = chars = visible = letters = digits = unspaced = NONE
    if is_ascii(data, place, end):  # of which no letter is a word by itself
        chars = end - place
        place, num_edges, inside, visible, letters, digits = find_spaced_edges(data, place, end, edges, lettered)
        for byte in range(place, end):
            # No jumps that depend on where words end, which the processor cannot foresee.
            bits = np.uint64(classes[data[byte]])
            edges[num_edges], lettered[num_edges] = byte, letters
            within = (bits & SPACE) >> THREE ^ ONE
            num_edges += within ^ inside
            inside = within
            visible += within
            letters += bits & LETTER
            digits += (bits & DIGIT) >> ONE
        place = end
    while place < end:
        bits, size = character_at(data, place, classes)
        edges[num_edges], lettered[num_edges] = place, letters
        within = (bits & SPACE) >> THREE ^ ONE
        chars += ONE
        visible += within
        letters += bits & LETTER
        digits += (bits & DIGIT) >> ONE
        if bits & UNSPACED:
            unspaced += ONE
            num_edges += inside
            edges[num_edges], lettered[num_edges] = place, letters - (bits & LETTER)
            edges[num_edges + ONE], lettered[num_edges + ONE] = place + size, letters
            num_edges += TWO
            inside = NONE
        else:
            num_edges += within ^ inside
            inside = within
        place += size
    edges[num_edges], lettered[num_edges] = end, letters
    counts[CHARS], counts[VISIBLE], counts[LETTERS], counts[DIGITS] = chars, visible, letters, digits
    counts[UNSPACED_CHARS], counts[WORDS] = unspaced, (num_edges + inside) >> ONE
    return (num_edges + inside) >> ONE


@njit(nogil=True, error_model="numpy")
def are_ascii(data: Any, offsets: Any) -> Any:
    """Whether each text is ASCII alone, (N,) bool."""
    result = np.empty(len(offsets) - 1, np.bool_)
    for text in range(len(offsets) - 1):
        result[text] = is_ascii(data, np.uint64(offsets[text]), np.uint64(offsets[text + 1]))
    return result


@njit(nogil=True, error_model="numpy")
def count(data: Any, loads: Any, offsets: Any, classes: Any) -> Any:
    """Characters and words, as `Features` counts them.

    counts: (N, 7) int64. hashes: of the words of all texts, (W,) uint64; those of more than LONG bytes are left open.
    long_words: number, first byte and length of each word of more than VERY_LONG bytes, (L, 3) int64.
    """
    num_texts, longest = len(offsets) - 1, 0
    for text in range(num_texts):
        longest = max(longest, offsets[text + 1] - offsets[text])
    edges, lettered = np.empty(longest + 3, np.uint64), np.empty(longest + 3, np.uint32)
    counts = np.zeros((num_texts, 7), np.int64)
    hashes = np.empty(offsets[-1] // 2 + num_texts, np.uint64)
    long_words = np.empty((offsets[-1] // VERY_LONG + 1, 3), np.int64)
    words, num_long = 0, 0
    for text in range(num_texts):
        num_words = find_spaced_words(
            data, np.uint64(offsets[text]), np.uint64(offsets[text + 1]), classes, edges, lettered, counts[text]
        )
        worded = 0
        for edge in range(NONE, TWO * num_words, TWO):
            start, length = edges[edge], edges[edge + ONE] - edges[edge]
            hashes[words] = hash_word(data, loads, start, length) if length <= LONG else NONE
            if length > VERY_LONG:
                long_words[num_long, 0], long_words[num_long, 1], long_words[num_long, 2] = words, start, length
                num_long += 1
            worded += lettered[edge + ONE] > lettered[edge]
            words += 1
        counts[text, WORDED] = worded
    return counts, hashes[:words].copy(), long_words[:num_long].copy()


@njit(nogil=True, error_model="numpy")
def find_newline(loads: Any, place: Any, end: Any) -> Any:
    """Where the first line end from a place of a text on stands, or else the text ends; eight bytes at a time."""
    while place < end:
        found = zero_bytes(loads[place] ^ NEWLINES)  # its lowest bit is that of the first line end
        if found:
            before = (((found & (NONE - found)) >> np.uint64(7)) - ONE) & LOWS  # a bit for each byte before it
            return min(place + (before * LOWS >> np.uint64(56)), end)
        place += np.uint64(8)
    return end


@njit(nogil=True, error_model="numpy")
def count_lines(data: Any, loads: Any, offsets: Any) -> Any:
    """Lines, as `Features` counts them, (N, 5) int64; and whether that could be done here, as it can with hashes that
    differ by chance."""
    num_texts, most = len(offsets) - 1, 1
    result = np.zeros((num_texts, 5), np.int64)
    for text in range(num_texts):
        if offsets[text + 1] - offsets[text] >= 2 * most:  # else no more lines fit into it
            lines = 1
            for byte in data[offsets[text] : offsets[text + 1]]:
                lines += byte == NEWLINE
            most = max(most, lines)
    keys, holders = np.empty(4 * most, np.uint64), np.full(4 * most, -1, np.int64)
    for text in range(num_texts):
        start, end, moves, bits = offsets[text], offsets[text + 1], 0, 1
        while 1 << bits < min(2 * most, end - start + 2):
            bits += 1
        mask = np.uint64((1 << bits) - 1)
        while start < end:
            place: Any = np.int64(find_newline(loads, np.uint64(start), np.uint64(end)))
            length = place - start
            if length:
                key = hash_word(data, loads, np.uint64(start), np.uint64(length))
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
def _hash_runs(hashes: Any, first: Any, count: int, keys: Any) -> None:
    """What the runs from a word on are compared by. Their length is known when this is compiled, so that several are
    hashed at once."""
    for run in range(count):
        rolled, power = hashes[first + np.uint64(run)], ONE
        for word in range(ONE, RUN_WORDS):
            power *= MULTIPLIER
            rolled += hashes[first + np.uint64(run) + word] * power
        keys[run] = mix64(rolled) >> np.uint64(20)  # as many bits as are compared there


@njit(nogil=True, error_model="numpy")
def count_repeated_runs(hashes: Any, offsets: Any) -> Any:
    """How many runs of `RUN_WORDS` words of each text stood before in it, (N,) int64, as `WordRuns.share_repeated`
    counts them; and whether that could be done here, as it can with hashes that differ by chance. hashes: of the words,
    (W,) uint64; offsets: where those of each text begin, (N + 1,)."""
    result, longest = np.zeros(len(offsets) - 1, np.int64), 1
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    bits = 1
    while 1 << bits < 4 * longest:
        bits += 1
    keys, holders = np.empty(1 << bits, np.uint64), np.full(1 << bits, -1, np.int32)
    runs = np.empty(longest, np.uint64)
    for text in range(len(offsets) - 1):
        num_words = offsets[text + 1] - offsets[text]
        count = max(num_words - np.int64(RUN_WORDS) + 1, 0)
        _hash_runs(hashes, np.uint64(offsets[text]), count, runs)
        bits = 1
        while 1 << bits < 4 * num_words:
            bits += 1
        mask, moves = np.uint64((1 << bits) - 1), 0
        for key in runs[:count]:
            slot = key & mask
            while holders[slot] == text and keys[slot] != key:
                slot = (slot + ONE) & mask
                moves += 1
                if moves > MOST_MOVES * num_words:
                    return result, False
            if holders[slot] == text:
                result[text] += 1
            holders[slot], keys[slot] = text, key
    return result, True
