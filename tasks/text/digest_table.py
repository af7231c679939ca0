"""A table of 128-bit digests, which says how many others came before each: loops compiled by numba (kernels.py).

known: the digests by their numbers, (≥ T, 2) uint64. slots: (2^b,) uint32, more than T: 0 in an empty one, else a
number and 1; where a digest lies is told by its lowest bits, and if another lies there, it is in the next slot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, error_model="numpy")
def slot_of(first: Any, second: Any, known: Any, slots: Any) -> Any:
    """The slot of a digest, or the empty one that it would get."""
    mask = np.uint64(len(slots) - 1)
    slot = first & mask
    while slots[slot]:
        number = np.int64(slots[slot]) - 1
        if known[number, 0] == first and known[number, 1] == second:
            break
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(nogil=True, error_model="numpy")
def number(digests: Any, known: Any, slots: Any, count: Any, adds: Any) -> Any:
    """The number of each digest, (N, 2) uint64 → (N,), −1 of one not met before. If `adds`, that gets the next one
    after `count`, and is put into the table, which must have room for all."""
    result = np.empty(len(digests), np.int64)
    for row in range(len(digests)):
        first, second = digests[row, 0], digests[row, 1]
        slot = slot_of(first, second, known, slots)
        if adds and not slots[slot]:
            known[count, 0], known[count, 1] = first, second
            count += 1
            slots[slot] = count
        result[row] = np.int64(slots[slot]) - 1
    return result


@njit(nogil=True, error_model="numpy")
def place(known: Any, slots: Any) -> None:
    """Put digests, each of which there is once, into an empty table."""
    for count in range(len(known)):
        slots[slot_of(known[count, 0], known[count, 1], known, slots)] = count + 1
