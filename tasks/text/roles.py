"""Takes roles and links off the texts of a batch: `strip_roles` of markup.py, compiled by numba.

Every find of its four rules holds a backquote or a bracket that tells, with what stands left and right of it, where the
find begins and ends, so only those are looked at. What is scanned for one ends before the next, so the time grows with
the text alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from model.byte_vectors import LANES, between, copy, lowest
from model.pointers import octets
from tasks.text.kernels import kept
from tasks.text.places import places

SHORT_ROLE, ROLE, LINK, MARKDOWN_LINK = range(4)  # the rules, in turn
BACKQUOTE, COLON, TILDE, BANG, LESS, MORE, DOT, LINE, OPEN, CLOSE, NEWLINE, ROUND_CLOSE = b"`:~!<>._[]\n)"
_ONE = np.uint64(1)
_ADDRESS = np.frombuffer(b"](http", np.uint8)
_LETTER, _WORD, _NAME, _BLANK = 1, 2, 4, 8


def _bytes_of(letters: bytes, bit: int) -> np.ndarray:
    return np.isin(np.arange(256), np.frombuffer(letters, np.uint8)).astype(np.uint8) * np.uint8(bit)


_LETTERS = bytes(byte for byte in range(128) if chr(byte).isalpha())
_WORDS = _LETTERS + b"0123456789_"
# What the expressions mean by [A-Za-z], \w, [\w.+\-] and \s, a bit each (RE2: of ASCII alone, \s without \v).
KINDS = _bytes_of(_LETTERS, _LETTER) | _bytes_of(_WORDS, _WORD) | _bytes_of(_WORDS + b".+-", _NAME)
KINDS |= _bytes_of(b"\t\n\f\r ", _BLANK)


def strip(column: pa.Array) -> pa.Array:
    """The texts of a column, large_string without nulls, without roles and links."""
    addresses, sizes = places(column)
    bounds, data = np.zeros(len(sizes) + 1, np.int64), np.empty(sizes.sum(), np.uint8)
    kept(strip_texts)(addresses, sizes, np.empty((2, sizes.max(initial=0) + 2 * LANES), np.uint8), data, bounds)
    return pa.LargeStringArray.from_buffers(len(sizes), pa.py_buffer(bounds), pa.py_buffer(data))


@njit(nogil=True, error_model="numpy")
def strip_texts(addresses: Any, sizes: Any, room: Any, data: Any, bounds: Any) -> None:
    """What is left of the texts that stand at addresses is written to `data`, and where each ends to `bounds`,
    (N + 1,). room: for two texts and what is read and written beyond them."""
    here, there, target = octets(room[0].ctypes.data), octets(room[1].ctypes.data), octets(data.ctypes.data)
    for text in range(len(sizes)):
        size = sizes[text]
        copy(octets(addresses[text]), 0, size, here, 0)
        for rule in range(4):
            left = _apply(rule, here, size, there)
            if left >= 0:
                here, there, size = there, here, left
        copy(here, 0, size, target, bounds[text])
        bounds[text + 1] = bounds[text] + size


@njit(nogil=True, error_model="numpy")
def _apply(rule: int, text: Any, size: int, target: Any) -> Any:
    """Write the text with all finds of a rule replaced. Gives its bytes; −1 where there are none, and nothing is
    written. Behind both LANES bytes may be read, and written."""
    sought = np.uint8(CLOSE if rule == MARKDOWN_LINK else BACKQUOTE)
    done, at, unclosed = 0, 0, 0  # what is written of the text, and of the result; up to where no address ends
    for byte in range(LANES):
        text[size + byte] = 0
    for block in range(0, size, LANES):
        mask = between(text, block, sought, sought)
        while mask:
            mark = block + np.int64(lowest(mask))
            mask &= mask - _ONE
            if mark < max(done, unclosed):
                continue
            if rule == MARKDOWN_LINK:
                begin, first, last, end = _find_markdown_link(text, done, mark, size)
                unclosed = end if first < 0 else unclosed
            elif rule == LINK:
                begin, first, (last, end) = mark, mark + 1, _find_shown(text, mark + 1, size)
                if end - last > 1 and text[end] == LINE:  # with an address
                    end += 2 if text[end + 1] == LINE else 1
                else:
                    first = -1
            else:
                begin, first, last, end = _find_role(text, done, mark, size, rule == SHORT_ROLE)
            if first < 0:
                continue
            copy(text, done, begin, target, at)
            at += begin - done
            if rule <= ROLE:
                target[at] = BACKQUOTE
                at += 1
            copy(text, first, last, target, at)
            at += last - first
            if rule <= ROLE:
                target[at] = BACKQUOTE
                at += 1
            done = end
    if not done:
        return -1
    copy(text, done, size, target, at)
    return at + size - done


@njit(nogil=True, error_model="numpy")
def _find_role(text: Any, done: int, mark: int, size: int, is_short: bool) -> Any:
    """Of a role whose text a backquote opens: where the role begins, where what it shows begins and ends, and where the
    role ends. The second is −1 if there is none."""
    nothing = (0, -1, 0, 0)
    name = mark - 1
    if name < done or text[name] != COLON:
        return nothing
    begin, ends = -1, name
    for _ in range(2):  # :name: or :domain:name:
        while name > done and KINDS[text[name - 1]] & _NAME:
            name -= 1
        if name in (ends, done) or text[name - 1] != COLON:
            break
        if KINDS[text[name]] & _LETTER:
            begin = name - 1
        name -= 1
        ends = name
    if begin < 0:
        return nothing
    first = mark + 1
    if is_short:
        if text[first] != TILDE:
            return nothing
        first += 1
        last = first
        while KINDS[text[last]] & _WORD or (text[last] == DOT and last > first):
            last += 1
            if text[last - 1] == DOT:
                first = last
        return (begin, first, last, last + 1) if last > first and text[last] == BACKQUOTE else nothing
    if text[first] == BANG:
        last, end = _find_shown(text, first + 1, size)
        if end:
            return begin, first + 1, last, end
    last, end = _find_shown(text, first, size)
    return (begin, first, last, end) if end else nothing


@njit(nogil=True, error_model="numpy")
def _find_shown(text: Any, first: int, size: int) -> Any:
    """Of "words`" or "words <address>`", from a place on: where the words end, and where all of it ends; else 0, 0."""
    stop = first
    while stop < size and text[stop] != BACKQUOTE and text[stop] != LESS:
        stop += 1
    last = stop
    while last > first and KINDS[text[last - 1]] & _BLANK:
        last -= 1
    if stop == size or last == first:
        return 0, 0
    if text[stop] == BACKQUOTE:
        return (last, stop + 1) if last == stop else (0, 0)
    while stop < size and text[stop] != BACKQUOTE and text[stop] != MORE:
        stop += 1
    return (last, stop + 2) if text[stop] == MORE and text[stop + 1] == BACKQUOTE else (0, 0)


@njit(nogil=True, error_model="numpy")
def _find_markdown_link(text: Any, done: int, mark: int, size: int) -> Any:
    """Of a link whose words a bracket closes: as `_find_role`; if there is none the last number says up to where no
    address ends."""
    for place in range(1, len(_ADDRESS)):
        if text[mark + place] != _ADDRESS[place]:
            return 0, -1, 0, 0
    first = mark
    while first > done and text[first - 1] != OPEN and text[first - 1] != CLOSE and text[first - 1] != NEWLINE:
        first -= 1
    begins = mark + len(_ADDRESS)
    begins += text[begins] == ord("s")
    if first in (mark, done) or text[first - 1] != OPEN or text[begins] != COLON:
        return 0, -1, 0, 0
    begins += 3
    if text[begins - 2] != ord("/") or text[begins - 1] != ord("/"):
        return 0, -1, 0, 0
    end = begins
    while end < size and text[end] != ROUND_CLOSE and not KINDS[text[end]] & _BLANK:
        end += 1
    if end in (begins, size) or text[end] != ROUND_CLOSE:
        return 0, -1, 0, end
    return first - 1, first, mark, end + 1
