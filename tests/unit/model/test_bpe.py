"""The merges are those that the trainer of `tokenizers` finds."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from model.bpe import Merge, Words, learn_merges
from model.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer

TEXTS = [
    "The cat's hat isn't here; they'll say we've 12 or 345 of them.\n\n  def f(x):\n\treturn x",
    "naïve café 東京 שלום e\u0301e\u0301 🙂🙂 aaaaaaaaaaaaaaaaaaa bababababa abababab 1111111",
    "the rain in the main; the pain, then the train: there and here, here and there",
]


def theirs(texts: list[str], vocab_size: int) -> Tokenizer:
    """As `tokenizers` trains it."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False, initial_alphabet=alphabet
    )
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend)


def words_of(counts: dict[bytes, int]) -> Words:
    data = np.frombuffer(b"".join(counts), np.uint8)
    return Words(data, np.cumsum([0, *map(len, counts)]), np.array(list(counts.values()), np.int64))


repetitive = st.lists(st.text(st.sampled_from("ab c"), max_size=40), max_size=8)
few_letters = st.lists(st.text(st.sampled_from("abé中🙂 '1"), max_size=30), max_size=8)
anything = st.lists(st.text(max_size=30), max_size=6)


@settings(max_examples=100, deadline=None)
@given(texts=st.one_of(repetitive, few_letters, anything), new_tokens=st.integers(0, 80))
def test_the_tokenizer_is_that_of_tokenizers(texts, new_tokens):
    assert train_tokenizer(texts, 260 + new_tokens).to_json() == theirs(texts, 260 + new_tokens).to_json()


@pytest.mark.parametrize("vocab_size", [260, 300, 2000])
def test_real_text_gives_the_tokenizer_of_tokenizers(vocab_size):
    assert train_tokenizer(TEXTS * 3, vocab_size).to_json() == theirs(TEXTS * 3, vocab_size).to_json()


def plainly(counts: dict[bytes, int], num_tokens: int) -> list[Merge]:
    """Counts every pair anew for each merge."""
    words = {tuple(word): count for word, count in counts.items()}
    merges = []
    for token in range(256, 256 + num_tokens):
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(Merge(left, right, token))
        merged: Counter[tuple[int, ...]] = Counter()
        for word, count in words.items():
            symbols, place = [], 0
            while place < len(word):
                here = word[place : place + 2] == (left, right)
                symbols.append(token if here else word[place])
                place += 1 + here
            merged[tuple(symbols)] += count
        words = merged
    return merges


@settings(max_examples=200, deadline=None)
@given(counts=st.dictionaries(st.binary(min_size=1, max_size=12).map(lambda b: bytes(x % 3 for x in b)),
                              st.integers(1, 5000), max_size=12))  # fmt: skip
def test_merges_are_those_of_counting_anew(counts):
    assert learn_merges(words_of(counts), np.arange(256), 40) == plainly(counts, 40)


def test_of_equal_pairs_the_one_with_lower_ids_is_merged_first():
    counts = words_of({b"cd": 5, b"ab": 5, b"ef": 9})
    assert learn_merges(counts, np.arange(256), 3) == [(101, 102, 256), (97, 98, 257), (99, 100, 258)]


def test_a_run_of_one_letter_is_merged_from_the_left():
    assert learn_merges(words_of({b"aaaaa": 1}), np.arange(256), 9) == [(97, 97, 256), (256, 97, 257), (256, 257, 258)]


def test_no_words_give_no_merges():
    assert learn_merges(words_of({}), np.arange(256), 9) == learn_merges(words_of({b"a": 3}), np.arange(256), 9) == []
