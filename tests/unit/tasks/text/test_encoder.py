"""The batch encoder gives the ids of `tokenizers`, whatever the text."""

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from model.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from tasks.text.encoder import BatchEncoder, UnsupportedTokenizer
from tasks.text.pretokens import WordTable, split_words
from tasks.text.spans import TextBatch

SAMPLES = [
    "The cat's hat isn't here; they'll say we've 12 or 345 of them.\n\n  def f(x):\n\treturn x",
    "naïve café 東京",
]
HOSTILE = [
    "'s",
    "'",
    "'ll",
    "'RE",
    "s",
    "re",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x85",
    "\xa0",
    "\u3000",
    "\u200b",
    "é",
    "e\u0301",
    "中",
    "ก",
    "٣",
    "²",
    "Ⅷ",
    "🙂",
    "👩‍👩‍👧",
    "\U000e0041",
    "\uffff",
    "_",
    "--",
    *SPECIAL_TOKENS,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(SAMPLES * 3, 400)


@pytest.fixture(scope="module")
def encoder(tokenizer) -> BatchEncoder:
    return BatchEncoder(tokenizer.backend)


def encoded(encoder: BatchEncoder, texts: list[str]) -> list[list[int]]:
    ids, lengths = encoder.encode(texts)
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])] if texts else []


any_text = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from(HOSTILE), max_size=25).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(any_text, max_size=4))
def test_ids_are_those_of_tokenizers(tokenizer, encoder, texts):
    assert encoded(encoder, texts) == [tokenizer.encode(text) for text in texts]


@settings(max_examples=200, deadline=None)
@given(text=any_text)
def test_round_trip(tokenizer, encoder, text):
    ids = encoded(encoder, [text])[0]
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not set(ids) & set(range(len(SPECIAL_TOKENS)))


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(any_text, max_size=4))
def test_words_are_cut_as_tokenizers_does(tokenizer, texts):
    batch = TextBatch(texts)
    words = split_words(batch)
    data = batch.bytes.tobytes()
    ours = [
        (int(document), data[start : start + length].decode())
        for start, length, document in zip(words.starts, words.lengths, words.documents, strict=True)
    ]
    cutter = tokenizer.backend.pre_tokenizer
    theirs = [
        (number, text[begin:end])
        for number, text in enumerate(texts)
        for _, (begin, end) in cutter.pre_tokenize_str(text)
    ]
    assert ours == theirs


def test_forgetting_words_changes_nothing(tokenizer, monkeypatch):
    monkeypatch.setattr("tasks.text.encoder.MAX_WORDS", 3)
    small = BatchEncoder(tokenizer.backend)
    for text in [*SAMPLES, "other words", *SAMPLES]:
        assert encoded(small, [text])[0] == tokenizer.encode(text)


def test_the_table_grows_and_survives_colliding_slots():
    table = WordTable(capacity=4)
    hashes = np.array([1, 5, 9, 13, 1 << 40, 2, 0], np.uint64)  # four share a slot
    table.add(hashes[:2], np.array([10, 11], np.int32))
    table.add(hashes[2:], np.arange(12, 17, dtype=np.int32))
    assert table.find(hashes).tolist() == list(range(10, 17))
    assert table.find(np.array([17, 3], np.uint64)).tolist() == [-1, -1]


@pytest.mark.parametrize("change", ["normalizer", "prefix", "split"])
def test_other_tokenizers_are_refused(change):
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=change == "prefix")
    if change == "normalizer":
        backend.normalizer = normalizers.NFC()
    if change == "split":
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UnsupportedTokenizer):
        BatchEncoder(backend)
