"""Texts as one UTF-8 buffer, and spans in it found and hashed by numpy instead of one text at a time.

A `TextBatch` keeps a column of texts as Arrow does: the bytes of all of them end to end, and offsets. Everything that
is fast here (rules, shingles, encoding) looks up a class for every byte (that of its character), compares neighbours to
find where a span starts and ends, and hashes spans by unaligned 8-byte loads. All positions are in bytes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import xxhash

NUM_CODE_POINTS = 0x110000
PADDING = 8  # bytes after the last text, so that an 8-byte load at the last byte stays inside the buffer
LONG_SPAN = 256  # bytes; longer spans are rare and hashed one by one

LETTER, DIGIT, MARK, SPACE, UNSPACED, UPPER = 1, 2, 4, 8, 16, 32
WORD = LETTER | DIGIT | MARK

# Scripts that write no spaces between words: each of their characters counts as a word of its own.
UNSPACED_RANGES = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo and Katakana extensions
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA000, 0xA4CF),  # Yi
    (0xA980, 0xA9DF),  # Javanese
    (0xF900, 0xFAFF),  # Han, compatibility
    (0xFF66, 0xFF9D),  # half-width Katakana
    (0x1B000, 0x1B16F),  # Kana supplements
    (0x20000, 0x3FFFF),  # Han, extensions B and later
)


class CharacterTable:
    """A class for each character, asked of `classify` only for the characters that occur, then remembered."""

    UNKNOWN = 255

    def __init__(self, classify: Callable[[list[str]], Sequence[int]]) -> None:
        self._classify = classify
        self._classes = np.full(NUM_CODE_POINTS, self.UNKNOWN, np.uint8)
        self._fill(np.arange(128))
        self._ascii = np.full(256, self.UNKNOWN, np.uint8)
        self._ascii[:128] = self._classes[:128]

    def _fill(self, codes: np.ndarray) -> None:
        self._classes[codes] = self._classify([chr(code) for code in codes.tolist()])

    def known(self, batch: TextBatch) -> np.ndarray:
        """The class of every code point, (NUM_CODE_POINTS,) uint8; UNKNOWN where neither this batch nor one before has
        the character."""
        if not batch.is_ascii:
            self.learn(batch.wide_characters[1])
        return self._classes

    def learn(self, codes: np.ndarray) -> None:
        """Ask for the classes of some code points, where they are not known."""
        unknown = self._classes[codes] == self.UNKNOWN
        if unknown.any():
            self._fill(np.unique(codes[unknown]))

    def of_batch(self, batch: TextBatch) -> np.ndarray:
        """Class of the character that each byte of the batch belongs to, (B,) uint8."""
        classes = self._ascii.take(batch.bytes)
        if batch.is_ascii:
            return classes
        leads, codes = batch.wide_characters
        self.learn(codes)
        classes[leads] = self._classes[codes]
        for behind in (1, 2, 3):  # bytes after the first of a character take its class
            here = leads[codes >= (0, 0x80, 0x800, 0x10000)[behind]] + behind
            classes[here] = classes[here - behind]
        return classes


def unicode_class(character: str) -> int:
    """Bits LETTER, DIGIT, MARK, SPACE, UNSPACED, UPPER of one character, by its Unicode general category."""
    code, category = ord(character), unicodedata.category(character)
    bits = {"L": LETTER, "N": DIGIT, "M": MARK}.get(category[0], 0)
    if character == "_":
        bits = LETTER
    if character.isspace():
        bits |= SPACE
    if category == "Lu":
        bits |= UPPER
    if bits & WORD and any(low <= code <= high for low, high in UNSPACED_RANGES):
        bits |= UNSPACED
    return bits


CHARACTERS = CharacterTable(lambda characters: [unicode_class(character) for character in characters])


@dataclass(frozen=True)
class Spans:
    """Pieces of a batch: byte offsets `starts` and `lengths`, and the `document` (row) each belongs to; all (S,)."""

    starts: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, which: np.ndarray) -> Spans:
        """Some of the spans, by their numbers."""
        return Spans(self.starts[which], self.lengths[which], self.documents[which])


class TextBatch:
    """A column of texts: `data` (bytes, uint8, padded), `offsets` (N + 1, int64, in bytes)."""

    def __init__(self, column: pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if not isinstance(column, pa.Array):
            column = pa.array(column, pa.large_string())
        if column.null_count:
            column = column.fill_null("")
        column = column.cast(pa.large_string())
        _, offsets, data = column.buffers()
        bounds = np.frombuffer(offsets, np.int64, len(column) + 1, column.offset * 8) if offsets else np.zeros(1, int)
        begin, end = int(bounds[0]), int(bounds[-1])
        self.data = np.empty(end - begin + PADDING, np.uint8)
        self.data[end - begin :] = 0
        if end > begin:
            self.data[: end - begin] = np.frombuffer(data, np.uint8, end - begin, begin)
        self.offsets: np.ndarray = (bounds - begin).astype(np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: np.ndarray) -> TextBatch:
        """Some of the texts, whose rows must rise; those that lie together are copied at once."""
        firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        lasts = np.append(firsts[1:], len(rows))[: len(firsts)] - 1
        places = zip(self.offsets[rows[firsts]].tolist(), self.offsets[rows[lasts] + 1].tolist(), strict=True)
        taken = TextBatch.__new__(TextBatch)
        taken.data = np.concatenate([*(self.data[begin:end] for begin, end in places), np.zeros(PADDING, np.uint8)])
        taken.offsets = np.concatenate(([0], np.cumsum(np.diff(self.offsets)[rows])))
        return taken

    def __getstate__(self) -> dict[str, np.ndarray]:
        """Without what was found in it, for another process: that is sooner found anew than sent."""
        return {"data": self.data, "offsets": self.offsets}

    @property
    def num_bytes(self) -> int:
        """Bytes of all texts."""
        return len(self.data) - PADDING

    @property
    def bytes(self) -> np.ndarray:
        """Bytes of all texts without the padding, (B,) uint8."""
        return self.data[: self.num_bytes]

    @cached_property
    def is_ascii(self) -> bool:
        """Whether no text holds a character beyond ASCII."""
        return bool(self.data.max() < 0x80)

    @cached_property
    def continuation(self) -> np.ndarray | None:
        """True at bytes that are not the first of their character, (B,) bool; None when all is ASCII."""
        return None if self.is_ascii else (self.bytes & 0xC0) == 0x80

    @cached_property
    def wide_characters(self) -> tuple[np.ndarray, np.ndarray]:
        """First bytes (offsets) and code points of the characters beyond ASCII, in order."""
        leads = np.flatnonzero(self.bytes >= 0xC0)
        size = 1 + (self.data[leads] >= 0xC0).astype(np.int64) + (self.data[leads] >= 0xE0) + (self.data[leads] >= 0xF0)
        codes = self.data[leads].astype(np.int64) & np.array([0, 0x7F, 0x1F, 0x0F, 0x07])[size]
        for behind in (1, 2, 3):
            more = size > behind
            codes[more] = codes[more] << 6 | (self.data[leads[more] + behind] & 0x3F)
        return leads, codes

    @cached_property
    def num_chars(self) -> np.ndarray:
        """Characters in each text, (N,)."""
        sizes = np.diff(self.offsets)
        return sizes if self.continuation is None else sizes - self.per_document(self.continuation)

    def num_chars_between(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Characters from byte `starts` to byte `ends`, each (S,)."""
        if self.continuation is None:
            return ends - starts
        others = np.flatnonzero(self.continuation)
        return ends - starts - (np.searchsorted(others, ends) - np.searchsorted(others, starts))

    @cached_property
    def classes(self) -> np.ndarray:
        """Bits of `unicode_class` of the character at each byte, (B,) uint8."""
        return CHARACTERS.of_batch(self)

    @cached_property
    def first_bytes(self) -> np.ndarray:
        """True where a byte begins a text, (B,) bool."""
        flags = np.zeros(self.num_bytes, bool)
        begins = self.offsets[:-1]
        flags[begins[begins < len(flags)]] = True
        return flags

    def spans(self, starts: np.ndarray, ends: np.ndarray) -> Spans:
        """Spans from byte offsets in rising order; none may cross from one text into the next."""
        counts = np.diff(np.searchsorted(starts, self.offsets))
        return Spans(starts, ends - starts, np.repeat(np.arange(len(self)), counts))

    def runs(self, inside: np.ndarray, alone: np.ndarray | None = None) -> Spans:
        """Maximal runs of bytes where `inside` holds, within one text; each character in `alone` by itself.

        Both are (B,) bool and the same for all bytes of a character.
        """
        if not self.num_bytes:
            empty = np.zeros(0, np.int64)
            return Spans(empty, empty, empty)
        starts = self.first_bytes.copy()
        starts[1:] |= ~inside[:-1]
        if alone is not None:
            starts |= alone
            starts[1:] |= alone[:-1]
        starts &= inside
        if alone is not None and self.continuation is not None:
            starts &= ~self.continuation
        ends = ~inside
        ends |= starts
        ends |= self.first_bytes
        last = np.ones(self.num_bytes, bool)
        last[:-1] = ends[1:]
        last &= inside
        return self.spans(np.flatnonzero(starts), np.flatnonzero(last) + 1)

    def words(self) -> Spans:
        """Words: runs of letters, digits, marks and underscores; single characters in scripts without spaces."""
        unspaced = (self.classes & UNSPACED) != 0
        alone = unspaced if not self.is_ascii and unspaced.any() else None
        return self.runs((self.classes & WORD) != 0, alone)

    @property
    def loads(self) -> np.ndarray:
        """The eight bytes from each byte on, as a little-endian number, (B + 1,) uint64."""
        return eight_bytes(self.data)

    def evenly_spaced(self) -> tuple[np.ndarray, np.ndarray]:
        """The texts as `" ".join(text.split())` gives them: their bytes (uint8) and offsets (N + 1,)."""
        if not self.num_bytes:
            return self.bytes, self.offsets
        space = (self.classes & SPACE) != 0
        drop = space & self.first_bytes
        drop[1:] |= space[1:] & space[:-1]  # of a run of white space only the first byte stays; at either end none
        blanks = np.flatnonzero(space & ~drop)
        ending = np.flatnonzero((np.diff(self.offsets) > 0) & space[np.maximum(self.offsets[1:] - 1, 0)])
        last = np.searchsorted(blanks, self.offsets[1:][ending]) - 1
        within = (last >= 0) & (blanks[np.maximum(last, 0)] >= self.offsets[ending]) if len(blanks) else last >= 0
        drop[blanks[last[within]]] = True
        data = self.bytes.copy()
        data[blanks] = ord(" ")
        return data[~drop], self.offsets - np.searchsorted(np.flatnonzero(drop), self.offsets)

    def hashes(self, spans: Spans) -> np.ndarray:
        """64-bit hashes of the bytes of spans, (S,) uint64."""
        return hash_spans(self.data, spans.starts, spans.lengths)

    def per_document(self, flags: np.ndarray) -> np.ndarray:
        """Sum of a (B,) array over the bytes of each text, (N,) int64."""
        return sum_by_offsets(flags, self.offsets)


def sum_by_offsets(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Sums of values[offsets[i]:offsets[i+1]], (N,) int64; empty ranges give 0."""
    result = np.zeros(len(offsets) - 1, np.int64)
    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    if len(filled):
        result[filled] = np.add.reduceat(values, offsets[:-1][filled], dtype=np.int64)
    return result


_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], np.uint64)
_LENGTH_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


def mix64(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014): a bijection of uint64 in which every bit depends on all."""
    values = values ^ (values >> _SHIFT_1)
    values *= _MIX_1
    values ^= values >> _SHIFT_2
    values *= _MIX_2
    values ^= values >> _SHIFT_3
    return values


def eight_bytes(data: np.ndarray) -> np.ndarray:
    """The eight bytes from each byte on, where there are eight, as a little-endian number, uint64."""
    return np.ndarray((max(len(data) - 7, 0),), "<u8", data, strides=(1,))


def hash_spans(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """64-bit hashes of data[start:start+length]; `data` ends in `PADDING` spare bytes.

    Up to 8 bytes the hash is a bijection of the bytes for a given length, so equal lengths collide never.
    """
    loads = eight_bytes(data)
    hashes = loads[starts]
    hashes &= _MASKS[np.minimum(lengths, 8)]
    hashes ^= lengths.astype(np.uint64) * _LENGTH_MIX
    hashes = mix64(hashes)
    rest = np.flatnonzero((lengths > 8) & (lengths <= LONG_SPAN))
    done = 8
    while len(rest):
        block = loads[starts[rest] + done] & _MASKS[np.minimum(lengths[rest] - done, 8)]
        hashes[rest] = mix64(hashes[rest] * _LENGTH_MIX ^ block)
        done += 8
        rest = rest[lengths[rest] > done]
    for index in np.flatnonzero(lengths > LONG_SPAN).tolist():
        hashes[index] = xxhash.xxh3_64_intdigest(data[starts[index] : starts[index] + lengths[index]].data)
    return hashes
