"""Signs of what the steps of `clean` look for, found in one pass over a batch: each step then searches only the texts
that may hold it.

A sign is a set of short sequences of bytes, one of which stands in whatever the step would change or count. So signs
decide where a step looks, never what it finds.

Sequences that stand for a few strings of four characters or more are looked up in a table, in any case, by their first
four. The others are followed side by side, a bit for each place in them (Shift-And; Baeza-Yates & Gonnet 1992).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate, product
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from model.pointers import octets
from tasks.text.encoding import trim
from tasks.text.kernels import FOUR, MULTIPLIER, NONE, ONE, THREE, TWO, kept
from tasks.text.places import gathered, holding, may_be_trimmed, places

MOST_PLACES = 64  # of all sequences that are followed
MOST_STRINGS = 128  # that one sequence may stand for in the table
SPARSE = 64  # slots of the table for each string: where nearly all are empty, the processor foresees it
LOWER = np.uint64(0x20)  # the bit that makes letters of ASCII small; other characters are taken for others by it
BYTE, LAST_BYTE = np.uint64(8), np.uint64(24)
NEWLINE = np.uint64(ord("\n"))
LINE_END = np.uint64(int.from_bytes(b"****", "little"))  # four of them, with LOWER
_PLACE = re.compile(r"\[(?:\\.|[^\]\\])+\]|\\.|[^\\]", re.DOTALL)


@njit(nogil=True, error_model="numpy")
def find_signs(
    addresses: Any,
    sizes: Any,
    masks: Any,
    starts: Any,
    longest: Any,
    ends: Any,
    fours: Any,
    strings: Any,
    shift: Any,
    rest: Any,
    bounds: Any,
    borne: Any,
) -> Any:
    """The signs of the texts that stand at addresses, (N,) uint32, a bit each. A text counts as if a line end stood
    before it.

    masks: (256,) uint64, the places of the sequences that are followed at which a byte may stand; starts: the first
    places; longest: the most places of a sequence; ends: (S,) uint64, the last places of each sign. fours: a table,
    with open addressing, of the first four bytes of strings; strings: their numbers in it. rest, bounds: the other
    bytes of all strings, and where those of each begin; borne: the signs of each string.
    """
    result, longest_text = np.zeros(len(sizes), np.uint32), 0
    for size in sizes:
        longest_text = max(longest_text, size)
    places, met_fours = np.empty(longest_text + 1, np.uint32), np.empty(longest_text + 1, np.uint32)
    last_slot = np.uint64(len(fours) - 1)
    for text in range(len(sizes)):
        data, end, count, signs = octets(addresses[text]), np.uint64(sizes[text]), NONE, np.uint32(0)
        met, four = follow(data, end, masks, starts, longest), LINE_END
        for place in range(end):  # nearly no slot is taken, so what is in them is looked at afterwards
            four = four >> BYTE | (np.uint64(data[place]) | LOWER) << LAST_BYTE
            places[count], met_fours[count] = place, four
            count += ONE if fours[four * MULTIPLIER >> shift] else NONE
        for which in range(count):
            last, four = np.uint64(places[which]), np.uint64(met_fours[which])
            slot = four * MULTIPLIER >> shift
            while fours[slot]:
                if fours[slot] == four:
                    number = strings[slot]
                    first, length = bounds[number], bounds[number + 1] - bounds[number]
                    same = last + length < end
                    for step in range(length if same else NONE):
                        same &= data[last + ONE + step] | LOWER == rest[first + step]
                    if same:
                        signs |= borne[number]
                slot = slot + ONE & last_slot
        for sign in range(len(ends)):
            if met & ends[sign]:
                signs |= np.uint32(1 << sign)
        result[text] = signs
    return result


@njit(nogil=True, error_model="numpy")
def follow(data: Any, end: Any, masks: Any, starts: Any, longest: Any) -> Any:
    """All places of the sequences that are met in a text. Each step waits for the one before, so the quarters of the
    text are followed side by side, each but the first from where sequences that reach into it may begin."""
    quarter = end // FOUR if end > FOUR * longest else NONE
    second, third, fourth = quarter, TWO * quarter, THREE * quarter
    first, met, one, two, last = masks[NEWLINE] & starts, NONE, NONE, NONE, NONE
    for place in range(quarter - longest if quarter else NONE, quarter):
        one = (one << ONE | starts) & masks[data[place]]
        two = (two << ONE | starts) & masks[data[second + place]]
        last = (last << ONE | starts) & masks[data[third + place]]
    for place in range(quarter):
        first = (first << ONE | starts) & masks[data[place]]
        one = (one << ONE | starts) & masks[data[second + place]]
        two = (two << ONE | starts) & masks[data[third + place]]
        last = (last << ONE | starts) & masks[data[fourth + place]]
        met |= first | one | two | last
    state = last if quarter else first
    for place in range(FOUR * quarter, end):
        state = (state << ONE | starts) & masks[data[place]]
        met |= state
    return met


class Signs:
    """Signs by name, each given as sequences of bytes, or of sets of them, as regular expressions write them; "é" is
    the byte 0xE9, not a character in UTF-8."""

    def __init__(self, sequences: Mapping[str, Iterable[str]]) -> None:
        self.names = tuple(sequences)
        self._masks, self._starts, self._num_places = np.zeros(256, np.uint64), 0, 0
        self._followed: dict[str, np.uint64] = {}
        self._longest = 0  # of those, in places
        self._ends = np.zeros(len(self.names), np.uint64)
        strings: dict[bytes, int] = {}
        for number, name in enumerate(self.names):
            for sequence in sequences[name]:
                places = [_members(place) for place in _PLACE.findall(sequence)]
                sets = [{byte | int(LOWER) for byte in members} for members in places]
                if len(sets) >= 4 and prod(map(len, sets)) <= MOST_STRINGS:
                    for string in map(bytes, product(*sets)):
                        strings[string] = strings.get(string, 0) | 1 << number
                else:
                    self._ends[number] |= self._follow(sequence, places)
        self._tabulate(strings)

    def _follow(self, sequence: str, places: Sequence[Iterable[int]]) -> np.uint64:
        """Take a sequence among those that are followed; gives the bit of its last place."""
        if sequence in self._followed:
            return self._followed[sequence]
        self._starts |= 1 << self._num_places
        self._longest = max(self._longest, len(places))
        for members in places:
            assert self._num_places < MOST_PLACES, "too many sequences have to be followed"
            self._masks[list(members)] |= np.uint64(1 << self._num_places)
            self._num_places += 1
        self._followed[sequence] = np.uint64(1 << (self._num_places - 1))
        return self._followed[sequence]

    def _tabulate(self, strings: Mapping[bytes, int]) -> None:
        bits = max(len(strings) * SPARSE - 1, 1).bit_length()
        self._shift = np.uint64(64 - bits)
        self._fours, self._strings = np.zeros(1 << bits, np.uint32), np.zeros(1 << bits, np.uint32)
        for number, string in enumerate(strings):
            four = int.from_bytes(string[:4], "little")
            slot = (four * int(MULTIPLIER) & (1 << 64) - 1) >> (64 - bits)
            while self._fours[slot]:
                slot = (slot + 1) & ((1 << bits) - 1)
            self._fours[slot], self._strings[slot] = four, number
        rest = [string[4:] for string in strings]
        self._bounds = np.array([0, *accumulate(map(len, rest))], np.uint64)
        self._rest = np.frombuffer(b"".join(rest) + b"\0", np.uint8)
        self._borne = np.array([*strings.values(), 0], np.uint32)

    def of(self, column: pa.Array) -> np.ndarray:
        """The signs that each text bears, (N,) uint32: a bit each, of the first name the lowest."""
        return self.at(*places(column))

    def at(self, addresses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Those of the texts that stand at addresses."""
        found: np.ndarray = kept(find_signs)(
            addresses, sizes, self._masks, np.uint64(self._starts), np.uint64(self._longest), self._ends,
            self._fours, self._strings, self._shift, self._rest, self._bounds, self._borne,
        )  # fmt: skip
        return found


@cache
def _members(place: str) -> tuple[int, ...]:
    """The bytes that may stand at a place of a sequence."""
    return tuple(byte for byte in range(256) if re.fullmatch(place, chr(byte), re.DOTALL | re.ASCII))


class Texts:
    """A column of texts that steps rewrite, each those that bear its sign. signs: None where all are taken to bear
    all."""

    def __init__(self, column: pa.Array, signs: Signs | None) -> None:
        column = column.cast(pa.large_string())
        self._signs = signs
        self._columns = [column]  # what was rewritten stands in those behind the first
        self._addresses, self._sizes = places(column)
        self._borne, self._unread = np.zeros(len(column), np.uint32), np.ones(len(column), bool)

    def bearing(self, sign: str) -> np.ndarray:
        """True for each text that bears a sign, (N,). Signs are looked for when they are first asked for, since a text
        may be rewritten before, or never be asked for again."""
        if self._signs is None:
            return np.ones(len(self._sizes), bool)
        if self._unread.any():
            some = self._unread
            self._borne[some] = self._signs.at(self._addresses[some], self._sizes[some])
            self._unread = np.zeros(len(some), bool)
        return (self._borne >> self._signs.names.index(sign) & 1).astype(bool)

    def holding(self, mark: int) -> np.ndarray:
        """True for each text that holds a mark (places.py), (N,), which is told sooner than its signs."""
        return np.ones(len(self._sizes), bool) if self._signs is None else holding(self._addresses, self._sizes, mark)

    def where(self, chosen: np.ndarray) -> pa.Array:
        """The texts where `chosen`, (N,), holds, as they are now."""
        if len(self._columns) == 1 and chosen.all():
            return self._columns[0]
        return gathered(self._addresses[chosen], self._sizes[chosen], self._signs is not None)

    @property
    def column(self) -> pa.Array:
        """All texts as they are now."""
        return self.where(np.ones(len(self._sizes), bool))

    def rewrite(self, chosen: np.ndarray, function: Callable[[pa.Array], pa.Array]) -> None:
        """Put what a function makes of the texts where `chosen`, (N,), holds in their place."""
        if not chosen.any():
            return
        before = self.where(chosen)
        after = function(before).cast(before.type)
        differs = pc.not_equal(before, after)
        rows, changed = np.flatnonzero(chosen)[np.array(differs)], after.filter(differs)
        self._columns.append(changed)
        self._addresses[rows], self._sizes[rows] = places(changed)
        self._unread[rows] = True

    def trim(self) -> None:
        """Drop white space around each text, as `trim` of encoding.py does."""
        some = may_be_trimmed(self._addresses, self._sizes) if self._signs else np.ones(len(self._sizes), bool)
        self.rewrite(some, trim)
