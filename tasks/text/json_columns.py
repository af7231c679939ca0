"""Two fields of many JSON lines as columns, read by machine code: no Python object is made of any line.

It takes plain lines alone: each an object whose values are texts, whole numbers, truth values and null, and whose names
have no escapes. Of all others it says that they are to be read some other way (rows.py), so it never has to tell what
is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from model.byte_vectors import LANES, copy_text, lowest
from model.pointers import integers, octets
from tasks.text import kernels

_SHORTEST = len('{"":""}\n')  # of a line that has a field
_TEXT, _ORIGIN = 0, 1  # the places of their names
_MOST_DIGITS = 18  # of a whole number that all readers take for one
_QUOTE, _BACKSLASH, _SPACE, _END = (np.uint8(ord(sign)) for sign in '"\\ \n')
_ESCAPES = np.zeros(256, np.uint8)  # what stands for what
for _sign, _meant in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPES[_sign] = _meant
_HEX = np.full(256, 1 << 16, np.uint32)  # the values of hex digits, and of all else more than four of them can have
for _value, _signs in enumerate(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "aA", "bB", "cC", "dD", "eE", "fF"]):
    _HEX[list(_signs.encode())] = _value


@dataclass(frozen=True)
class Columns:
    """Of each line its text and its origin, (N,)."""

    texts: pa.LargeStringArray
    origins: pa.StringArray | None


@dataclass(frozen=True)
class ColumnReader:
    """Reads the fields ``text`` and ``origin``, if that is given, of lines that have no fields named as ``without``."""

    text: str
    origin: str | None
    without: frozenset[str] = field(default_factory=frozenset)

    def read(self, lines: bytes, max_bytes: int) -> Columns | None:
        """The columns of whole lines, none longer than ``max_bytes`` with its end; None where there is a line that is
        not plain, or has no text, no origin or an empty one, or one of these fields twice."""
        names, bounds = self._names
        data = np.frombuffer(lines, np.uint8)
        most = len(data) // _SHORTEST + 1
        texts, ends = np.empty(len(data) + LANES, np.uint8), np.empty(most + 1, np.int64)
        origins, their_ends = np.empty(len(data) + LANES, np.uint8), np.empty(most + 1, np.int32)
        ends[0] = their_ends[0] = 0
        count = kernels.kept(read_columns)(
            data, max_bytes, names, bounds, self.origin is not None, texts, ends, origins, their_ends
        )
        if count < 0:
            return None
        columns = [
            pa.Array.from_buffers(kind, count, [None, pa.py_buffer(bounds[: count + 1]), pa.py_buffer(bytes_)])
            for kind, bounds, bytes_ in (
                (pa.large_string(), ends, texts[: ends[count]]),
                (pa.string(), their_ends, origins[: their_ends[count]]),
            )
        ]
        return Columns(columns[0], columns[1] if self.origin is not None else None)

    @cached_property
    def _names(self) -> tuple[np.ndarray, np.ndarray]:
        """All names end to end, and where each begins and ends. Where no origin is asked for, its name is none that a
        plain line can have."""
        names = [self.text, "\0" if self.origin is None else self.origin, *sorted(self.without)]
        encoded = [name.encode() for name in names]
        bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return np.frombuffer(b"".join(encoded), np.uint8), bounds


@njit(nogil=True, error_model="numpy")
def read_columns(
    data: Any, max_bytes: Any, names: Any, bounds: Any, has_origins: Any, texts: Any, ends: Any,
    origins: Any, their_ends: Any,
) -> Any:  # fmt: skip
    """Writes the texts and origins of lines end to end, and where each ends. Gives how many there are; −1: as of
    ``ColumnReader.read`` None."""
    # Pointers, since whoever is given an array counts himself among its users, which would take a third of the time.
    place, size, count = 0, len(data), 0
    source, text, origin = octets(data.ctypes.data), octets(texts.ctypes.data), octets(origins.ctypes.data)
    all_names, their_bounds, num_names = octets(names.ctypes.data), integers(bounds.ctypes.data), len(bounds) - 1
    while place < size:
        begin = place
        place = _after_blanks(source, place, size)
        if place >= size or source[place] != ord("{"):
            return -1
        has_text = has_origin = False
        text_end, origin_end = ends[count], their_ends[count]
        while True:  # a field
            place = _after_blanks(source, place + 1, size)
            if place >= size or source[place] != _QUOTE:
                return -1
            name = place + 1
            # What nobody asked for is read, too, since it may be wrong, and is overwritten by what follows.
            place, reached = read_text(source, name, size, text, text_end)
            if place < 0 or reached - text_end != place - 1 - name:
                return -1
            number = _number_of(source, name, place - 1, all_names, their_bounds, num_names)
            place = _after_blanks(source, place, size)
            if number > _ORIGIN or place >= size or source[place] != ord(":"):
                return -1
            place = _after_blanks(source, place + 1, size)
            is_text = place < size and source[place] == _QUOTE
            if number == _TEXT:
                if has_text or not is_text:
                    return -1
                place, text_end = read_text(source, place + 1, size, text, text_end)
                has_text = True
            elif number == _ORIGIN:
                if has_origin or not is_text:
                    return -1
                place, reached = read_text(source, place + 1, size, origin, origin_end)
                has_origin, origin_end = reached > origin_end, reached
            elif is_text:
                place, _ = read_text(source, place + 1, size, text, text_end)
            else:
                place = _after_value(source, place, size)
            if place < 0:
                return -1
            place = _after_blanks(source, place, size)
            if place >= size or source[place] != ord(","):
                break
        if place >= size or source[place] != ord("}") or not has_text or has_origin != has_origins:
            return -1
        place = _after_blanks(source, place + 1, size)
        if place < size and source[place] != _END:
            return -1
        place += 1
        if min(place, size) - begin > max_bytes:
            return -1
        count += 1
        ends[count], their_ends[count] = text_end, origin_end
    return count


@njit(nogil=True, error_model="numpy", inline="always")
def _after_blanks(source: Any, place: Any, size: Any) -> Any:
    while place < size and (source[place] == _SPACE or source[place] == ord("\t") or source[place] == ord("\r")):
        place += 1
    return place


@njit(nogil=True, error_model="numpy")
def _number_of(source: Any, begin: Any, end: Any, names: Any, bounds: Any, count: Any) -> Any:
    """Which of so many names one is; −1: none of them."""
    for number in range(count):
        first, size = bounds[number], bounds[number + 1] - bounds[number]
        if size == end - begin:
            same = True
            for byte in range(size):
                same &= source[begin + byte] == names[first + byte]
            if same:
                return number
    return -1


@njit(nogil=True, error_model="numpy")
def _after_value(source: Any, place: Any, size: Any) -> Any:
    """The place after true, false, null or a whole number; −1 if there is something else."""
    for word in (b"true", b"false", b"null"):
        if place + len(word) <= size:
            same = True
            for byte in range(len(word)):
                same &= source[place + byte] == word[byte]
            if same:
                return place + len(word)
    if place < size and source[place] == ord("-"):
        place += 1
    first = place
    while place < size and ord("0") <= source[place] <= ord("9"):
        place += 1
    digits = place - first
    if digits == 0 or digits > _MOST_DIGITS or (digits > 1 and source[first] == ord("0")):
        return -1
    return place


@njit(nogil=True, error_model="numpy")
def read_text(source: Any, place: Any, size: Any, target: Any, at: Any) -> Any:
    """What a text means, from the byte after its quote on, is written to ``target``, which has room for as many bytes
    and LANES more. Gives the place after the second quote and that after what was written; −1 as the first if it is no
    text that all readers take for the same one."""
    while True:
        if place + LANES <= size:
            plain = np.int64(lowest(copy_text(source, place, target, at)))
            place += plain
            at += plain
            if plain == LANES:
                continue
        if place >= size:
            return -1, at
        sign = source[place]
        if sign == _QUOTE:
            return place + 1, at
        if sign == _BACKSLASH:
            meant = _ESCAPES[source[place + 1]] if place + 1 < size else 0
            if meant:
                target[at] = meant
                place, at = place + 2, at + 1
            else:
                place, at = _read_code(source, place, size, target, at)
        elif sign >= 0x80:
            place, at = _read_character(source, place, size, target, at)
        elif sign >= 0x20 and sign != 0x7F:  # near the end
            target[at] = sign
            place, at = place + 1, at + 1
        else:
            return -1, at
        if place < 0:
            return -1, at


@njit(nogil=True, error_model="numpy")
def _read_code(source: Any, place: Any, size: Any, target: Any, at: Any) -> Any:
    r"""As ``read_text``, of one character that is written ``\uXXXX``, or as two of these."""
    code, place = _read_unit(source, place, size)
    if code >= 0xD800 and code < 0xE000:  # half of a character
        if code >= 0xDC00 or place < 0:
            return -1, at
        second, place = _read_unit(source, place, size)
        if second < 0xDC00 or second >= 0xE000:
            return -1, at
        code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00)
    if place < 0:
        return -1, at
    if code < 0x80:
        target[at] = code
        return place, at + 1
    if code < 0x800:
        target[at] = 0xC0 | code >> 6
        at += 1
    else:
        if code < 0x10000:
            target[at] = 0xE0 | code >> 12
            at += 1
        else:
            target[at], target[at + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
            at += 2
        target[at] = 0x80 | code >> 6 & 0x3F
        at += 1
    target[at] = 0x80 | code & 0x3F
    return place, at + 1


@njit(nogil=True, error_model="numpy")
def _read_unit(source: Any, place: Any, size: Any) -> Any:
    r"""The number that ``\uXXXX`` stands for, and the place after it; −1 as the second if there is none."""
    if place + 6 > size or source[place] != _BACKSLASH or source[place + 1] != ord("u"):
        return 0, -1
    code = np.int64(0)
    for byte in range(place + 2, place + 6):
        code = code << 4 | np.int64(_HEX[source[byte]])
    if code >= 1 << 16:
        return 0, -1
    return code, place + 6


@njit(nogil=True, error_model="numpy")
def _read_character(source: Any, place: Any, size: Any, target: Any, at: Any) -> Any:
    """As ``read_text``, of one character that is not ASCII, nor a control character."""
    lead = source[place]
    length, least, most = 2, 0x80, 0xBF  # of the second byte
    if lead == 0xC2:
        least = 0xA0
    elif lead >= 0xE0:
        length = 3 if lead < 0xF0 else 4
        if lead == 0xE0:
            least = 0xA0
        elif lead == 0xED:
            most = 0x9F
        elif lead == 0xF0:
            least = 0x90
        elif lead == 0xF4:
            most = 0x8F
    if lead < 0xC2 or lead > 0xF4 or place + length > size or not least <= source[place + 1] <= most:
        return -1, at
    target[at], target[at + 1] = lead, source[place + 1]
    for byte in range(2, length):
        if source[place + byte] & 0xC0 != 0x80:
            return -1, at
        target[at + byte] = source[place + byte]
    return place + length, at + length
