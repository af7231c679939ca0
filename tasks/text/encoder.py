"""Byte-level BPE of whole batches: the ids that `tokenizers` gives, many times faster.

Text is cut in words (pre-tokens) by GPT-2's pattern, for a whole batch with numpy; each distinct word is encoded once
by `tokenizers` itself and looked up ever after. The pattern (Radford et al. 2019), its alternatives tried in order:

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

What is a letter, a number or a space is asked of `tokenizers`' own regular expressions, so the Unicode versions agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import tokenizers
from tokenizers import pre_tokenizers

from tasks.text.spans import CharacterTable, Spans, TextBatch

OTHER, LETTER, NUMBER, SPACE = 0, 1, 2, 3
MAX_WORDS = 1 << 21  # words remembered before starting afresh, to bound memory (about 60 bytes a word)
_APOSTROPHE, _BLANK = ord("'"), ord(" ")


class UnsupportedTokenizer(ValueError):
    """The tokenizer does more than GPT-2's byte-level BPE; encode with `tokenizers` itself."""


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
    """64-bit hash → number: open addressing with linear probing, looked up for many hashes at once."""

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._keys = np.zeros(capacity, np.uint64)
        self._numbers = np.full(capacity, -1, np.int32)
        self._held = 0

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Number of each hash, −1 where there is none."""
        mask = np.uint64(len(self._keys) - 1)
        slots = (hashes & mask).astype(np.int64)
        numbers = self._numbers[slots]
        wrong = np.flatnonzero((numbers >= 0) & (self._keys[slots] != hashes))
        while len(wrong):
            slots[wrong] = (slots[wrong] + 1) & int(mask)
            numbers[wrong] = self._numbers[slots[wrong]]
            wrong = wrong[(numbers[wrong] >= 0) & (self._keys[slots[wrong]] != hashes[wrong])]
        return numbers

    def add(self, hashes: np.ndarray, numbers: np.ndarray) -> None:
        """Enter distinct hashes that are not in the table yet."""
        self._held += len(hashes)
        if 2 * self._held > len(self._keys):
            used = self._numbers >= 0
            hashes = np.concatenate((self._keys[used], hashes))
            numbers = np.concatenate((self._numbers[used], numbers))
            capacity = 1 << int(4 * self._held - 1).bit_length()
            self._keys, self._numbers = np.zeros(capacity, np.uint64), np.full(capacity, -1, np.int32)
        mask = len(self._keys) - 1
        slots = (hashes & np.uint64(mask)).astype(np.int64)
        while len(hashes):
            free = self._numbers[slots] < 0
            self._numbers[slots[free]] = numbers[free]
            self._keys[slots[free]] = hashes[free]
            left = self._numbers[slots] != numbers  # another was there, or took the same free slot
            # a slot shared by two newcomers holds the last of both arrays, written in the same order
            hashes, numbers, slots = hashes[left], numbers[left], (slots[left] + 1) & mask


class BatchEncoder:
    """Encodes batches of texts with a byte-level BPE tokenizer; special tokens in a text stay text.

    Words are told apart by a 64-bit hash and their length: exact up to 8 bytes, and beyond them two words in a corpus
    of ten million different ones share a hash with a chance of about 10⁻⁶.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        _check_supported(json.loads(backend.to_str()))
        self._model = backend.model
        self._alphabet = _byte_alphabet()
        self._forget()

    def _forget(self) -> None:
        self._table = WordTable()
        self._counts = np.zeros(1 << 16, np.int64)  # tokens of each word
        self._begins = np.zeros(1 << 16, np.int64)  # where they lie in _ids
        self._ids = np.zeros(1 << 18, np.int32)
        self._words = self._used = 0

    def encode(self, texts: TextBatch | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts end to end, (T,) int32, and how many each text has, (N,) int64."""
        batch = texts if isinstance(texts, TextBatch) else TextBatch(texts)
        words = split_words(batch)
        if not len(words):
            return np.zeros(0, np.int32), np.zeros(len(batch), np.int64)
        hashes = batch.hashes(words)
        numbers = self._table.find(hashes)
        if (numbers < 0).any():
            if self._words > MAX_WORDS:
                self._forget()
                numbers[:] = -1
            self._learn(batch, words, hashes, np.flatnonzero(numbers < 0))
            numbers = self._table.find(hashes)
        counts = self._counts[numbers]
        ends = np.cumsum(counts)
        places = np.repeat(self._begins[numbers] - (ends - counts), counts)
        places += np.arange(len(places))
        per_text = np.bincount(words.documents, weights=counts, minlength=len(batch)).astype(np.int64)
        return self._ids[places], per_text

    def _learn(self, batch: TextBatch, words: Spans, hashes: np.ndarray, unknown: np.ndarray) -> None:
        new, where = np.unique(hashes[unknown], return_index=True)
        data = batch.bytes.tobytes()
        chosen, tokenize, alphabet = unknown[where], self._model.tokenize, self._alphabet
        places = zip(words.starts[chosen].tolist(), (words.starts + words.lengths)[chosen].tolist(), strict=True)
        tokens = [tokenize(data[start:end].decode("latin-1").translate(alphabet)) for start, end in places]
        ids = [token.id for word in tokens for token in word]
        counts = [len(word) for word in tokens]
        first, last = self._words, self._words + len(new)
        begin, end = self._used, self._used + len(ids)
        self._counts, self._begins = _grown(self._counts, last), _grown(self._begins, last)
        self._ids = _grown(self._ids, end)
        self._counts[first:last] = counts
        self._begins[first:last] = begin + np.cumsum(counts) - counts
        self._ids[begin:end] = ids
        self._table.add(new, np.arange(first, last, dtype=np.int32))
        self._words, self._used = last, end


class PlainEncoder:
    """As `BatchEncoder`, for any tokenizer: `tokenizers` itself, on its own threads."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend

    def encode(self, texts: TextBatch | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts end to end, (T,) int32, and how many each text has, (N,) int64."""
        if isinstance(texts, TextBatch):
            bounds, data = texts.offsets.tolist(), texts.bytes.tobytes()
            texts = [data[begin:end].decode() for begin, end in pairwise(bounds)]
        rows = [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        lengths = np.array([len(row) for row in rows], np.int64)
        return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths


def encoder_of(backend: tokenizers.Tokenizer) -> BatchEncoder | PlainEncoder:
    """The fast encoder; for a tokenizer that does more than it knows, the plain one."""
    try:
        return BatchEncoder(backend)
    except UnsupportedTokenizer:
        return PlainEncoder(backend)


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """The array, with room for `size` values."""
    if size <= len(array):
        return array
    larger = np.zeros(max(size, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte: itself where it is printable, else the next from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(0x100 + i) for i, byte in enumerate(rest)}}


def _check_supported(description: dict[str, Any]) -> None:
    """Raise UnsupportedTokenizer unless this is plain byte-level BPE with GPT-2's pattern."""
    model, cutter = description["model"], description.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or model.get("dropout") or description.get("normalizer"):
        raise UnsupportedTokenizer("only BPE without dropout and without a normalizer can be encoded in batches")
    if cutter.get("type") != "ByteLevel" or cutter.get("add_prefix_space") or not cutter.get("use_regex", True):
        raise UnsupportedTokenizer("the pre-tokenizer must be ByteLevel with its own pattern and without prefix space")
