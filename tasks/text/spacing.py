"""White space of ASCII text evened out by machine code, 64 bytes at once: what lies between its runs is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from model.byte_vectors import LANES, copy_spaced, find_spaces, lowest

_NONE, _ONE = np.uint64(0), np.uint64(1)
_ALL = ~_NONE


@njit(nogil=True, error_model="numpy")
def space_evenly(source: Any, place: Any, end: Any, limit: Any, target: Any, at: Any) -> Any:
    """Write what `TextBatch.evenly_spaced` gives of one text in ASCII, with a blank more where it ends in white space,
    as far as no byte from ``limit`` on may be read. Gives the place up to which it is done, the one after what was
    written, and 1 if the last byte was white space or there was none, else 0. ``target`` has room for LANES more."""
    after_space = _ONE
    while place < end and place + 2 * LANES <= limit:
        count = min(LANES, end - place)
        these = _ALL >> np.uint64(LANES - count)
        spaces = find_spaces(source, place) & these
        kept = ~(spaces & (spaces << _ONE | after_space)) & these
        while kept:  # run by run
            first = np.int64(lowest(kept))
            length = np.int64(lowest(~(kept >> np.uint64(first))))
            copy_spaced(source, place + first, target, at)
            at += length
            kept &= kept + (_ONE << np.uint64(first))  # which carries through the run, and so ends it
        after_space = spaces >> np.uint64(count - 1)
        place += count
    return place, at, after_space
