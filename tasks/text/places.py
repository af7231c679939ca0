"""Texts wherever they stand in memory: to take some of them, or to put others in their place, copies no others."""

from __future__ import annotations

from ctypes import string_at
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from model.byte_vectors import LANES, between, copy
from model.pointers import octets
from tasks.text.kernels import kept

UNUSUAL, MARKUP = range(2)  # marks that `holding` looks for
_NEWLINE, _SPACE, _WIDE = ord("\n"), ord(" "), 0x80
_TAB, _LINE_END, _FIRST, _LAST, _COLON, _BACKQUOTE, _MORE, _CLOSE, _OPEN = map(np.uint8, b"\t\n ~:`>](")
_NONE = np.uint64(0)


def places(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The addresses of the texts of a column, large_string without nulls, and their bytes, each (N,) int64. They hold
    as long as the column does."""
    _, offsets, data = column.buffers()
    if not len(column):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bounds = np.frombuffer(offsets, np.int64, len(column) + 1, column.offset * 8)
    return bounds[:-1] + (data.address if data else 0), np.diff(bounds)


def gathered(addresses: np.ndarray, sizes: np.ndarray, compiled: bool) -> pa.Array:
    """The texts that stand at addresses, (N,), as a column. compiled: by machine code (kernels.py)."""
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    if compiled:
        data: Any = np.empty(bounds[-1], np.uint8)
        kept(_copy_texts)(addresses, bounds, data)
    else:
        data = b"".join(map(string_at, addresses.tolist(), sizes.tolist()))
    return pa.LargeStringArray.from_buffers(len(sizes), pa.py_buffer(bounds), pa.py_buffer(data))


@njit(nogil=True, error_model="numpy")
def _copy_texts(addresses: Any, bounds: Any, data: Any) -> None:
    for text in range(len(addresses)):
        copy(octets(addresses[text]), 0, bounds[text + 1] - bounds[text], octets(data.ctypes.data), bounds[text])


def may_be_trimmed(addresses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether `trim` of encoding.py may change each text, (N,) bool, by its first and last byte."""
    found: np.ndarray = kept(_may_be_trimmed)(addresses, sizes)
    return found


@njit(nogil=True, error_model="numpy")
def _may_be_trimmed(addresses: Any, sizes: Any) -> Any:
    result = np.zeros(len(addresses), np.bool_)
    for text in range(len(addresses)):
        if sizes[text]:
            first, last = octets(addresses[text])[0], octets(addresses[text])[sizes[text] - 1]
            result[text] = first == _NEWLINE or last <= _SPACE or last >= _WIDE
    return result


def holding(addresses: np.ndarray, sizes: np.ndarray, mark: int) -> np.ndarray:
    """Whether each text holds a mark, (N,) bool. UNUSUAL: a character that is not of ASCII, or controls a terminal: it
    stands in all that `mend` of encoding.py changes. MARKUP: ":`", ">`" or "](", one of which stands in all that
    `strip_roles` of markup.py changes."""
    found: np.ndarray = kept(_hold)(addresses, sizes, mark, np.empty(2 * LANES, np.uint8))
    return found


@njit(nogil=True, error_model="numpy")
def _hold(addresses: Any, sizes: Any, mark: int, room: Any) -> Any:
    result = np.zeros(len(addresses), np.bool_)
    for text in range(len(addresses)):
        data, size = octets(addresses[text]), sizes[text]
        if size <= LANES:  # the byte behind 64 is looked at too
            room[:] = _SPACE
            copy(data, 0, size, octets(room.ctypes.data), 0)
            result[text] = _mark_at(octets(room.ctypes.data), 0, mark) != _NONE
            continue
        found = _mark_at(data, size - LANES - 1, mark)
        for place in range(0, size - LANES, LANES):
            found |= _mark_at(data, place, mark)
        if mark == UNUSUAL:
            found |= _mark_at(data, size - LANES, mark)
        result[text] = found != _NONE
    return result


@njit(nogil=True, error_model="numpy")
def _mark_at(data: Any, place: Any, mark: int) -> Any:
    """Where a mark begins in 64 bytes, a bit each."""
    if mark == UNUSUAL:
        return ~(between(data, place, _FIRST, _LAST) | between(data, place, _TAB, _LINE_END))
    quoted = between(data, place, _COLON, _COLON) | between(data, place, _MORE, _MORE)
    quoted &= between(data, place + 1, _BACKQUOTE, _BACKQUOTE)
    return quoted | between(data, place, _CLOSE, _CLOSE) & between(data, place + 1, _OPEN, _OPEN)
