"""Where words of ASCII begin and end, found for 64 bytes at once by machine code. What lies near the end of the buffer,
where 64 bytes cannot be read, is left to loops over single bytes (kernels.py, counting.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from model.byte_vectors import LANES, between, count_bits, find_spaces, lowest
from model.pointers import octets

_NONE, _ONE = np.uint64(0), np.uint64(1)
_ALL = ~_NONE


@njit(nogil=True, error_model="numpy")
def letters(source: Any, place: Any) -> Any:
    """A mask of the letters of ASCII among 64 bytes; the underscore counts as one."""
    small, large = between(source, place, ord("a"), ord("z")), between(source, place, ord("A"), ord("Z"))
    return small | large | between(source, place, ord("_"), ord("_"))


@njit(nogil=True, error_model="numpy")
def digits(source: Any, place: Any) -> Any:
    """A mask of the digits of ASCII among 64 bytes."""
    return between(source, place, ord("0"), ord("9"))


@njit(nogil=True, error_model="numpy")
def find_edges(data: Any, place: Any, end: Any, edges: Any) -> Any:
    """Where words of letters and digits begin and end in a text of ASCII, written to `edges`. Gives the place up to
    which it was looked, how many edges there are, and whether the byte before is of a word, 1 or 0."""
    source, count, inside = octets(data.ctypes.data), _NONE, _NONE
    while place < end and place + LANES <= len(data):
        size = min(np.uint64(LANES), end - place)
        words = letters(source, place) | digits(source, place)
        changes = (words ^ (words << _ONE | inside)) & (_ALL >> (np.uint64(LANES) - size))
        while changes:
            edges[count] = place + lowest(changes)
            count += _ONE
            changes &= changes - _ONE
        inside = words >> (size - _ONE) & _ONE
        place += size
    return place, count, inside


@njit(nogil=True, error_model="numpy")
def find_spaced_edges(data: Any, place: Any, end: Any, edges: Any, lettered: Any) -> Any:
    """The same of words between white space; how many letters stand before each edge is written to `lettered`. Gives
    also how many bytes of words, letters and digits there are."""
    source, count, inside = octets(data.ctypes.data), _NONE, _NONE
    visible = num_letters = num_digits = _NONE
    while place < end and place + LANES <= len(data):
        size = min(np.uint64(LANES), end - place)
        these = _ALL >> (np.uint64(LANES) - size)
        words, lettered_here = ~find_spaces(source, place) & these, letters(source, place) & these
        changes = (words ^ (words << _ONE | inside)) & these
        while changes:
            offset = lowest(changes)
            edges[count] = place + offset
            lettered[count] = num_letters + count_bits(lettered_here & ((_ONE << offset) - _ONE))
            count += _ONE
            changes &= changes - _ONE
        visible += count_bits(words)
        num_letters += count_bits(lettered_here)
        num_digits += count_bits(digits(source, place) & these)
        inside = words >> (size - _ONE) & _ONE
        place += size
    return place, count, inside, visible, num_letters, num_digits
