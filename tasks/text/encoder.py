"""Byte-level BPE of whole batches: the ids that `tokenizers` gives, many times faster.

Text is cut in pre-tokens for a whole batch at once; each distinct one is encoded once by `tokenizers` itself and looked
up ever after.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, pairwise
from typing import Any

import numpy as np
import tokenizers

from model.tokenizer import byte_alphabet
from tasks.text import kernels
from tasks.text.joining import FEW, join_ids, join_with_ends
from tasks.text.merging import LONGEST_WORD, Merges, encode_words
from tasks.text.pretokens import WordNumbers
from tasks.text.spans import TextBatch, sum_by_offsets

MAX_WORDS = 1 << 21  # words remembered before starting afresh, to bound memory (about 60 bytes a word)


class UnsupportedTokenizer(ValueError):
    """The tokenizer does more than GPT-2's byte-level BPE; encode with `tokenizers` itself."""


class BatchEncoder:
    """Encodes batches of texts with a byte-level BPE tokenizer; special tokens in a text stay text.

    compiled: by machine code, where the tokenizer allows it (merging.py).
    """

    def __init__(self, backend: tokenizers.Tokenizer, compiled: bool = False) -> None:
        description = json.loads(backend.to_str())
        _check_supported(description)
        self._model, self._compiled = backend.model, compiled
        self._merges: Merges | None = None
        if compiled:
            with suppress(ValueError):
                self._merges = Merges(description["model"], byte_alphabet())
        self._alphabet = dict(enumerate(byte_alphabet()))
        self._forget()

    def _forget(self) -> None:
        self._numbers = WordNumbers(self._compiled)
        self._words = np.zeros((1 << 16, 1 + int(FEW)), np.int32)  # how many tokens each word has, and the first ones
        self._begins = np.zeros(1 << 16, np.int64)  # where all of them lie in _ids
        self._ids = np.zeros(1 << 18, np.int32)
        self._used = 0
        self._per_byte = 1  # tokens that a byte has become, at most

    def encode(self, texts: TextBatch | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts end to end, (T,) int32, and how many each text has, (N,) int64."""
        batch = texts if isinstance(texts, TextBatch) else TextBatch(texts)
        if len(self._numbers) > MAX_WORDS:
            self._forget()
        words = self._numbers.of_batch(batch)
        numbers = words.numbers
        if len(words.new_starts):
            self._learn(batch, words.new_starts, words.new_lengths)
        if self._compiled:
            ids = np.empty(self._per_byte * batch.num_bytes + int(FEW), np.int32)  # of which a part is touched
            join = kernels.kept(join_ids)
            per_text = join(numbers, words.counts, self._words, self._begins, self._ids, ids)
            return ids[: per_text.sum()], per_text
        counts = self._words[numbers, 0].astype(np.int64)
        ends = np.cumsum(counts)
        places = np.repeat(self._begins[numbers] - (ends - counts), counts)
        places += np.arange(len(places))
        return self._ids[places], sum_by_offsets(counts, np.concatenate(([0], np.cumsum(words.counts))))

    def _learn(self, batch: TextBatch, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Encode words that have just been given a number: where they begin and their bytes, both (W,)."""
        first, last = len(self._numbers) - len(starts), len(self._numbers)
        self._words, self._begins = _grown(self._words, last), _grown(self._begins, last)
        by_library = np.ones(len(starts), bool)
        if self._merges is not None:
            by_library = lengths > LONGEST_WORD
            short, table = np.flatnonzero(~by_library), self._merges
            self._keep(first + short, *kernels.kept(encode_words)(
                batch.data, starts[short], lengths[short], table.byte_ids, table.keys, table.ranks, table.ids
            ))  # fmt: skip
        others = np.flatnonzero(by_library)
        if len(others):
            data, tokenize, alphabet = batch.bytes.tobytes(), self._model.tokenize, self._alphabet
            places = zip(starts[others].tolist(), (starts + lengths)[others].tolist(), strict=True)
            tokens = [tokenize(data[start:end].decode("latin-1").translate(alphabet)) for start, end in places]
            ids = np.array([token.id for word in tokens for token in word], np.int32)
            counts = np.array([len(word) for word in tokens], np.int64)
            self._per_byte = max(self._per_byte, int(np.max(-(-counts // lengths[others]))))
            self._keep(first + others, ids, counts)

    def _keep(self, numbers: np.ndarray, ids: np.ndarray, counts: np.ndarray) -> None:
        """Remember the ids, (T,), of the words of some numbers, (W,); counts: how many each has, (W,)."""
        begin, end = self._used, self._used + len(ids)
        self._ids = _grown(self._ids, end)
        self._ids[begin:end] = ids
        self._begins[numbers] = begins = begin + np.cumsum(counts) - counts
        self._words[numbers, 0] = counts
        for step in range(int(FEW)):  # those behind the last one of a word are never looked at
            self._words[numbers, 1 + step] = self._ids.take(begins + step, mode="clip")
        self._used = end


class PlainEncoder:
    """As `BatchEncoder`, for any tokenizer: `tokenizers` itself, on its own threads. reason: why it is needed."""

    def __init__(self, backend: tokenizers.Tokenizer, reason: str = "") -> None:
        self._backend = backend
        self.reason = reason

    def encode(self, texts: TextBatch | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts end to end, (T,) int32, and how many each text has, (N,) int64."""
        if isinstance(texts, TextBatch):
            bounds, data = texts.offsets.tolist(), texts.bytes.tobytes()
            texts = [data[begin:end].decode() for begin, end in pairwise(bounds)]
        rows = [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        lengths = np.array([len(row) for row in rows], np.int64)
        return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths


def encoder_of(backend: tokenizers.Tokenizer, compiled: bool = False) -> BatchEncoder | PlainEncoder:
    """The fast encoder; for a tokenizer that does more than it knows, the plain one. compiled: by machine code."""
    try:
        return BatchEncoder(backend, compiled)
    except UnsupportedTokenizer as error:
        return PlainEncoder(backend, str(error))


def with_ends(
    ids: np.ndarray, lengths: np.ndarray, chosen: np.ndarray, end: int, dtype: np.dtype, compiled: bool = False
) -> np.ndarray:
    """The tokens of the chosen among documents, (N,) bool, as they are stored: ids, (T,), with `end` behind each
    document of so many, (N,). compiled: by machine code (kernels.py)."""
    if compiled:
        result = np.empty(int((lengths + 1) @ chosen), dtype)
        kernels.kept(join_with_ends)(ids, lengths, chosen, end, result)
        return result
    ids, lengths = ids[np.repeat(chosen, lengths)], lengths[chosen]
    is_id = np.ones(len(ids) + len(lengths), bool)
    is_id[np.cumsum(lengths + 1) - 1] = False
    result = np.full(len(is_id), end, dtype)
    result[is_id] = ids
    return result


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """The array, with room for `size` values, or rows."""
    if size <= len(array):
        return array
    larger = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _check_supported(description: dict[str, Any]) -> None:
    """Raise UnsupportedTokenizer unless this is plain byte-level BPE with GPT-2's pattern."""
    model, cutter = description["model"], description.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or model.get("dropout") or description.get("normalizer"):
        raise UnsupportedTokenizer("only BPE without dropout and without a normalizer can be encoded in batches")
    if cutter.get("type") != "ByteLevel" or cutter.get("add_prefix_space") or not cutter.get("use_regex", True):
        raise UnsupportedTokenizer("the pre-tokenizer must be ByteLevel with its own pattern and without prefix space")
    if any(not token.get("special") for token in description.get("added_tokens") or ()):
        raise UnsupportedTokenizer("tokens were added that are no special tokens, and are looked for in every text")
