"""Pre-tokens by GPT-2's pattern in one pass over each batch, and their numbers: loops compiled by numba. How texts are
given, kernels.py says; the pattern and its classes stand in pretokens.py, with what numpy does instead.

Where words begin no processor can foresee, so no byte is looked at by itself: of 64 bytes at a time it is found which
are letters, which are spaces, as 64 bits each, and what follows from those of their neighbours is a matter of shifts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from model.byte_vectors import between, count_bits, lowest
from model.pointers import octets
from tasks.text.edges import digits, letters
from tasks.text.kernels import (
    EIGHT,
    MULTIPLIER,
    NONE,
    ONE,
    TWO,
    UNSPACED,
    WORD,
    character_at,
    first_bytes,
    mix64,
)

LETTER_OR_SPACE, NUMBER_OR_SPACE = np.uint64(1), np.uint64(2)  # bits of the classes of pretokens.py
BLANK, APOSTROPHE = ord(" "), ord("'")
S, T, R, V, E, M, L, D = b"strvemld"
WIDTH = np.uint64(64)
BLOCK_BITS, IN_BLOCK = np.uint64(6), WIDTH - ONE
AT_ONCE = 1024  # words that are hashed and looked up together; what is known of them fits into the nearest cache


@njit(nogil=True, error_model="numpy")
def bit(place: Any) -> Any:
    """That of a byte among those of its block."""
    return ONE << (place & IN_BLOCK)


@njit(nogil=True, error_model="numpy")
def firsts_of(offsets: Any) -> Any:
    """The bits of the first bytes of texts and of the one behind the last, (B // 64 + 1,) uint64."""
    firsts = np.zeros((np.uint64(offsets[-1]) >> BLOCK_BITS) + ONE, np.uint64)
    for offset in offsets:
        firsts[np.uint64(offset) >> BLOCK_BITS] |= bit(np.uint64(offset))
    return firsts


@njit(nogil=True, error_model="numpy")
def last_block(data: Any, size: Any) -> Any:
    """A copy of the bytes behind the last whole block, zeros behind them: where 64 bytes can be read."""
    begin, tail = size & ~IN_BLOCK, np.zeros(WIDTH, np.uint8)
    for place in range(begin, size):
        tail[place - begin] = data[place]
    return tail


@njit(nogil=True, error_model="numpy")
def wide_characters(data: Any, begin: Any, leads: Any, classes: Any, one: Any, other: Any) -> Any:
    """Which bytes of a block are of characters beyond ASCII whose class has a bit of `one`, and of `other`. leads:
    which ones begin such a character."""
    first = second = NONE
    if data[begin] & 0xC0 == 0x80:  # the rest of one that begins in the block before
        place = begin - ONE
        while data[place] & 0xC0 == 0x80:
            place -= ONE
        kind, width = character_at(data, place, classes)
        covered = bit(width - (begin - place)) - ONE
        first, second = covered if kind & one else NONE, covered if kind & other else NONE
    while leads:
        offset = lowest(leads)
        kind, width = character_at(data, begin + offset, classes)
        covered = (bit(width) - ONE) << offset
        first |= covered if kind & one else NONE
        second |= covered if kind & other else NONE
        leads &= leads - ONE
    return first, second


@njit(nogil=True, error_model="numpy")
def mark(data: Any, firsts: Any, size: Any, classes: Any) -> Any:
    """The bits of the bytes with which a pre-token begins, and of the one behind the last, as `firsts_of` has them;
    contractions aside."""
    marks, tail = np.empty(len(firsts), np.uint64), last_block(data, size)
    after_one = after_other = after_blank = NONE  # whether the byte before the block is of the class, or a blank
    for block in range(np.uint64(len(marks))):
        begin = block << BLOCK_BITS
        source = octets(data.ctypes.data + begin if begin + WIDTH <= size else tail.ctypes.data)
        blanks = between(source, 0, BLANK, BLANK)
        spaces = blanks | between(source, 0, ord("\t"), ord("\r"))
        ones = between(source, 0, ord("a"), ord("z")) | between(source, 0, ord("A"), ord("Z")) | spaces
        others = digits(source, 0) | spaces
        is_wide = between(source, 0, 0x80, 0xFF)
        if is_wide:
            leads = between(source, 0, 0xC0, 0xFF)
            first, second = wide_characters(data, begin, leads, classes, LETTER_OR_SPACE, NUMBER_OR_SPACE)
            ones, others = ones | first, others | second
        before, other_before = ones << ONE | after_one, others << ONE | after_other
        changes = (ones ^ before | others ^ other_before) & ~(blanks << ONE | after_blank)
        # The last of several spaces begins a pre-token, with what is behind it where it is a blank.
        after_spaces = before & other_before & ~(ones & others) & ~firsts[block]
        marks[block] = firsts[block] | changes | after_spaces >> ONE
        if after_spaces & ONE:
            marks[block - ONE] |= bit(IN_BLOCK)
        if is_wide or after_spaces & ONE:
            mark_wide_spaces(data, begin, after_spaces, marks)
        after_one, after_other, after_blank = ones >> IN_BLOCK, others >> IN_BLOCK, blanks >> IN_BLOCK
    return marks


@njit(nogil=True, error_model="numpy")
def mark_wide_spaces(data: Any, begin: Any, after_spaces: Any, marks: Any) -> None:
    """Where a pre-token was said to begin with the last byte of a space of several, let it be the first one."""
    while after_spaces:
        place = begin + lowest(after_spaces) - ONE
        if data[place] & 0xC0 == 0x80:
            marks[place >> BLOCK_BITS] &= ~bit(place)
            while data[place] & 0xC0 == 0x80:
                place -= ONE
            marks[place >> BLOCK_BITS] |= bit(place)
        after_spaces &= after_spaces - ONE


@njit(nogil=True, error_model="numpy")
def contraction(data: Any, place: Any, firsts: Any) -> Any:
    """Bytes of the contraction ('s, 'll, …) that begins at an apostrophe, uint64; 0 where there is none."""
    if firsts[(place + ONE) >> BLOCK_BITS] & bit(place + ONE):
        return NONE
    first = data[place + ONE]
    if first in (S, T, M, D):
        return TWO
    second = data[place + TWO]
    if (second == E and first in (R, V)) or (second == L and first == L):
        return TWO + ONE if not firsts[(place + TWO) >> BLOCK_BITS] & bit(place + TWO) else NONE
    return NONE


@njit(nogil=True, error_model="numpy")
def mark_contractions(data: Any, firsts: Any, size: Any, marks: Any) -> None:
    """Let a contraction be a pre-token where one begins at its apostrophe."""
    tail = last_block(data, size)
    for block in range(np.uint64(len(marks))):
        begin = block << BLOCK_BITS
        source = octets(data.ctypes.data + begin if begin + WIDTH <= size else tail.ctypes.data)
        quotes = between(source, 0, APOSTROPHE, APOSTROPHE) & marks[block]
        while quotes:
            place = begin + lowest(quotes)
            short = contraction(data, place, firsts)
            if short:
                inside, behind = place + ONE, place + short
                marks[inside >> BLOCK_BITS] &= ~bit(inside)
                marks[behind >> BLOCK_BITS] |= bit(behind)
            quotes &= quotes - ONE


@njit(nogil=True, error_model="numpy")
def count_marks(marks: Any, offsets: Any) -> Any:
    """How many of the bytes of each text are marked, (N,) int64."""
    counts = np.empty(len(offsets) - 1, np.int64)
    block, before, last = NONE, NONE, NONE
    for text in range(len(counts)):
        end = np.uint64(offsets[text + 1])
        while block < end >> BLOCK_BITS:
            before += count_bits(marks[block])
            block += ONE
        here = before + count_bits(marks[block] & (bit(end) - ONE))
        counts[text] = here - last
        last = here
    return counts


@njit(nogil=True, error_model="numpy")
def cut(data: Any, offsets: Any, classes: Any) -> Any:
    """Pre-tokens of all texts: the bits of the bytes that they begin with, and of the one behind the last,
    (B // 64 + 1,) uint64, and how many each text has, (N,) int64."""
    firsts, size = firsts_of(offsets), np.uint64(offsets[-1])
    marks = mark(data, firsts, size, classes)
    mark_contractions(data, firsts, size, marks)
    return marks, count_marks(marks, offsets)


@njit(nogil=True, error_model="numpy")
def hash_words(loads: Any, begins: Any, hashes: Any, longer: Any) -> None:
    """As `hash_spans`, of words end to end: where they begin and the last one ends, (W + 1,) uint64, and room for (W,).

    In several loops, of which the compiler makes vectors, and none of which has to foresee how long a word is."""
    for word in range(len(hashes)):
        hashes[word] = loads[begins[word]]
    for word in range(len(hashes)):
        length = begins[word + 1] - begins[word]
        hashes[word] = mix64(hashes[word] & first_bytes(min(length, EIGHT)) ^ length * MULTIPLIER)
    num_longer, done = 0, EIGHT
    for word in range(len(hashes)):
        longer[num_longer] = word
        num_longer += begins[word + 1] - begins[word] > done
    while num_longer:
        num_longer_still = 0
        for word in longer[:num_longer]:
            left = begins[word + 1] - begins[word] - done
            block = loads[begins[word] + done] & first_bytes(min(left, EIGHT))
            hashes[word] = mix64(hashes[word] * MULTIPLIER ^ block)
            longer[num_longer_still] = word
            num_longer_still += left > EIGHT
        num_longer = num_longer_still
        done += EIGHT


@njit(nogil=True, error_model="numpy")
def number_words(
    loads: Any, marks: Any, word: Any, place: Any, found: Any, starts: Any, lengths: Any,
    slots: Any, hashes: Any, held: Any, new: Any,
) -> Any:  # fmt: skip
    """Look the words that `cut` found, from one on that begins at a place, up in a `WordTable` that holds so many, and
    enter those it does not hold under the next numbers: their numbers go to found, (S,) int32, the places of the new
    ones and their bytes to starts and lengths, behind the `new` ones that are there. Gives the first word that was not
    looked up, since the table may be full, and its place; how many the table holds, and how many are new."""
    mask = np.uint64(len(slots) - 1)
    begins, keys, longer = np.empty(AT_ONCE + 1, np.uint64), np.empty(AT_ONCE, np.uint64), np.empty(AT_ONCE, np.int32)
    begins[0], block = place, np.uint64(place) >> BLOCK_BITS
    bits = marks[block] & ~((bit(begins[0]) << ONE) - ONE)
    while word < len(found) and held + AT_ONCE <= len(hashes):
        size, count = min(AT_ONCE, len(found) - word), 0
        while count < size:
            while not bits:
                block += ONE
                bits = marks[block]
            count += 1
            begins[count] = (block << BLOCK_BITS) + lowest(bits)
            bits &= bits - ONE
        hash_words(loads, begins, keys[:size], longer)
        for row in range(size):
            key = keys[row]
            slot = key & mask
            number = slots[slot]
            while number >= 0 and hashes[np.uint64(number)] != key:
                slot = (slot + ONE) & mask
                number = slots[slot]
            if number < 0:
                number = held
                slots[slot], hashes[held] = number, key
                starts[new], lengths[new] = begins[row], begins[row + 1] - begins[row]
                held += 1
                new += 1
            found[word + row] = number
        word += size
        begins[0] = begins[size]
    return word, np.int64(begins[0]), held, new


@njit(nogil=True, error_model="numpy")
def count_words(data: Any, offsets: Any, classes: Any) -> Any:
    """How many words, as `TextBatch.words` finds them, each text has, (N,) int64."""
    firsts, size = firsts_of(offsets), np.uint64(offsets[-1])
    starts, tail = np.empty(len(firsts), np.uint64), last_block(data, size)
    after_word = after_unspaced = NONE  # whether the byte before the block is of the class
    for block in range(np.uint64(len(starts))):
        begin = block << BLOCK_BITS
        source = octets(data.ctypes.data + begin if begin + WIDTH <= size else tail.ctypes.data)
        words = letters(source, 0) | digits(source, 0)
        unspaced = inside = NONE
        if between(source, 0, 0x80, 0xFF):
            leads, inside = between(source, 0, 0xC0, 0xFF), between(source, 0, 0x80, 0xBF)
            wide, unspaced = wide_characters(data, begin, leads, classes, WORD, UNSPACED)
            words |= wide
        alone = unspaced | unspaced << ONE | after_unspaced
        starts[block] = words & ~inside & (~(words << ONE | after_word) | firsts[block] | alone)
        after_word, after_unspaced = words >> IN_BLOCK, unspaced >> IN_BLOCK
    return count_marks(starts, offsets)
