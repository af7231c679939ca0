"""Pre-tokens by GPT-2's pattern, cut for a whole batch with numpy, and a table that knows each distinct one by number.

The pattern (Radford et al. 2019), its alternatives tried in order:

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

What is a letter, a number or a space is asked of `tokenizers`' own regular expressions, so the Unicode versions agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tokenizers
from tokenizers import pre_tokenizers

from model.bpe import Words
from tasks.text import cutting
from tasks.text.kernels import kept
from tasks.text.spans import CharacterTable, Spans, TextBatch

OTHER, LETTER, NUMBER, SPACE = 0, 1, 2, 3
_APOSTROPHE, _BLANK = ord("'"), ord(" ")


def classify(characters: list[str]) -> list[int]:
    """OTHER, LETTER, NUMBER or SPACE for each character, as `tokenizers` sees it."""
    text = "".join(characters)
    kinds = dict.fromkeys(text, OTHER)
    for kind, pattern in ((LETTER, r"\p{L}"), (NUMBER, r"\p{N}"), (SPACE, r"\s")):
        splitter = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="removed")
        unmatched = set("".join(piece for piece, _ in splitter.pre_tokenize_str(text)))
        kinds.update((character, kind) for character in kinds.keys() - unmatched)
    return [kinds[character] for character in characters]


CLASSES = CharacterTable(classify)


def split_words(batch: TextBatch) -> Spans:
    """Pre-tokens of every text by GPT-2's pattern; together they cover every byte."""
    size = batch.num_bytes
    if not size:
        empty = np.zeros(0, np.int64)
        return Spans(empty, empty, empty)
    data, first, kinds = batch.bytes, batch.first_bytes, CLASSES.of_batch(batch)
    begins = first.copy()  # where a run of one class begins
    begins[1:] |= kinds[1:] != kinds[:-1]
    starts = begins.copy()

    after_space = np.flatnonzero(begins[1:] & ~first[1:] & (kinds[:-1] == SPACE)) + 1
    blank = data[after_space - 1] == _BLANK
    starts[after_space[blank]] = False  # a blank joins the word behind it: " word"
    last = after_space - 1
    if batch.continuation is not None:
        for _ in range(3):
            last = last - batch.continuation[last]
    starts[last] = True  # of other white space, the last character stands alone: "\n" + "\n" + "word"

    marks = np.flatnonzero(begins & (data == _APOSTROPHE))
    marks = marks[first[marks] | (data[marks - 1] != _BLANK)]
    length = _contraction_lengths(batch, marks)
    marks, length = marks[length > 0], length[length > 0]
    starts[marks + 1] = False
    ends = marks + 1 + length
    starts[ends[ends < size]] = True

    places = np.flatnonzero(starts)
    return batch.spans(places, np.append(places[1:], size))


class Pretokens(NamedTuple):
    """Of a batch: the number of each, (S,) int32, and how many each text has, (N,). Where those begin that were met for
    the first time, and their bytes, both (F,): one for each new number, in their order."""

    numbers: np.ndarray
    counts: np.ndarray
    new_starts: np.ndarray
    new_lengths: np.ndarray


def _contraction_lengths(batch: TextBatch, marks: np.ndarray) -> np.ndarray:
    """How many letters behind each apostrophe belong to 's 't 'm 'd (1) or 're 've 'll (2), else 0."""
    one, two = batch.data[marks + 1], batch.data[marks + 2]  # the padding makes both safe to read
    inside = np.append(~batch.first_bytes, np.zeros(2, bool))
    first_in, second_in = inside[marks + 1], inside[marks + 1] & inside[marks + 2]
    short = np.isin(one, np.frombuffer(b"stmd", np.uint8))
    pairs = one.astype(np.uint16) << 8 | two
    long = np.isin(pairs, [first << 8 | second for first, second in (b"re", b"ve", b"ll")])
    return np.where(first_in & short, 1, np.where(second_in & long, 2, 0))


class WordTable:
    """Numbers 64-bit hashes from 0 in the order in which they are entered: open addressing with linear probing, looked
    up for many hashes at once. The hashes lie by their numbers, so that those met first, and most often, lie together
    in the processor's cache."""

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._slots = np.full(capacity, -1, np.int32)
        self._hashes = np.zeros(capacity // 2, np.uint64)
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Number of each hash, −1 where there is none."""
        mask = np.uint64(len(self._slots) - 1)
        slots = (hashes & mask).astype(np.int64)
        numbers = self._slots[slots]
        wrong = np.flatnonzero((numbers >= 0) & (self._hashes[numbers] != hashes))
        while len(wrong):
            slots[wrong] = (slots[wrong] + 1) & int(mask)
            numbers[wrong] = self._slots[slots[wrong]]
            wrong = wrong[(numbers[wrong] >= 0) & (self._hashes[numbers[wrong]] != hashes[wrong])]
        return numbers

    def add(self, hashes: np.ndarray) -> None:
        """Enter distinct hashes that are not in the table yet."""
        self._make_room(len(hashes))
        begin, self._held = self._held, self._held + len(hashes)
        self._hashes[begin : self._held] = hashes
        self._enter(begin)

    def number(self, batch: TextBatch) -> Pretokens:
        """The pre-tokens of a batch, cut and numbered by machine code (kernels.py); those not met before get the next
        numbers."""
        marks, counts = kept(cutting.cut)(batch.data, batch.offsets, CLASSES.known(batch))
        num_words = int(counts.sum())
        numbers = np.empty(num_words, np.int32)
        starts, lengths = np.empty(num_words, np.int64), np.empty(num_words, np.int64)  # of which little is touched
        word = place = new = 0
        while word < num_words:
            self._make_room(cutting.AT_ONCE)
            word, place, self._held, new = kept(cutting.number_words)(
                batch.loads, marks, word, place, numbers, starts, lengths,
                self._slots, self._hashes, self._held, new,
            )  # fmt: skip
        return Pretokens(numbers, counts, starts[:new].copy(), lengths[:new].copy())

    def _make_room(self, num_new: int) -> None:
        """Let the table be at most half full with so many more; where it would be fuller, an eighth to a quarter."""
        held = self._held + num_new
        if held <= len(self._hashes):
            return
        capacity = 1 << int(4 * held - 1).bit_length()
        self._slots, hashes = np.full(capacity, -1, np.int32), self._hashes[: self._held]
        self._hashes = np.zeros(capacity // 2, np.uint64)
        self._hashes[: self._held] = hashes
        self._enter(0)

    def _enter(self, begin: int) -> None:
        """Find slots for the hashes from a number on. Of those that want the same one the first gets it: what was met
        first is looked up most."""
        numbers = np.arange(begin, self._held, dtype=np.int32)[::-1]
        mask = len(self._slots) - 1
        slots = (self._hashes[numbers] & np.uint64(mask)).astype(np.int64)
        while len(numbers):
            free = self._slots[slots] < 0
            self._slots[slots[free]] = numbers[free]
            left = self._slots[slots] != numbers  # another was there, or took the same free slot, as the last written
            numbers, slots = numbers[left], (slots[left] + 1) & mask


class WordNumbers:
    """Numbers the distinct pre-tokens of batches, from 0 in the order in which they are met.

    They are told apart by a 64-bit hash and their length: exact up to 8 bytes, and beyond them two in a corpus of ten
    million different ones share a hash with a chance of about 10⁻⁶. compiled: by machine code (kernels.py).
    """

    def __init__(self, compiled: bool = False) -> None:
        self._table, self._compiled = WordTable(), compiled

    def __len__(self) -> int:
        return len(self._table)

    def of_batch(self, batch: TextBatch) -> Pretokens:
        """The pre-tokens of a batch by their numbers."""
        if self._compiled:
            return self._table.number(batch)
        words = split_words(batch)
        hashes, counts = batch.hashes(words), np.bincount(words.documents, minlength=len(batch))
        numbers = self._table.find(hashes)
        unknown = np.flatnonzero(numbers < 0)
        new, first = np.unique(hashes[unknown], return_index=True)
        self._table.add(new)
        numbers[unknown] = self._table.find(hashes[unknown])
        first = unknown[first]
        return Pretokens(numbers, counts, words.starts[first], words.lengths[first])


def count_words(batches: Iterable[TextBatch], compiled: bool = False) -> Words:
    """The distinct pre-tokens of texts and how often each occurs. Memory goes with the distinct ones. compiled: by
    machine code (kernels.py)."""
    numbers, counts = WordNumbers(compiled), np.zeros(0, np.int64)
    contents, lengths = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
    for batch in batches:
        found = numbers.of_batch(batch)
        sizes = found.new_lengths
        before = np.cumsum(sizes) - sizes
        contents.append(batch.bytes[np.repeat(found.new_starts - before, sizes) + np.arange(int(sizes.sum()))])
        lengths.append(sizes)
        counts = np.bincount(found.numbers, minlength=len(numbers)) + np.pad(counts, (0, len(numbers) - len(counts)))
    return Words(np.concatenate(contents), np.cumsum(np.concatenate(([0], *lengths))), counts)
