"""The batch encoder gives the ids of `tokenizers`, whatever the text."""

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from model.tokenizer import SPECIAL_TOKENS, Tokenizer, tokenizer_of_words, train_tokenizer
from tasks.text import cutting
from tasks.text.encoder import BatchEncoder, PlainEncoder, UnsupportedTokenizer, encoder_of, with_ends
from tasks.text.pretokens import CLASSES, WordNumbers, WordTable, count_words, split_words
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
    "\ud7ff",  # the characters beside the surrogates
    "\ue000",
    "\ufdd0",  # no characters
    "\U0010ffff",
    "\ufeff",
    "\u2028",
    "\u2003",
    "\u180e",
    "\u202e",  # turns the direction of writing
    "שלום",
    "مرحبا",
    "\u0301\u0301\u0301",
    "नमस्ते",
    "한국어",
    "日本語の文章には空白がない",
    "۱۲۳",
    "ﬁ",
    "x" * 700,
    "7" * 300,
    " " * 300,
    "\n" * 300,
    "=" * 300,
    *SPECIAL_TOKENS,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(SAMPLES * 3, 400)


@pytest.fixture(scope="module", params=[False, True], ids=["numpy", "compiled"])
def encoder(tokenizer, request) -> BatchEncoder:
    return BatchEncoder(tokenizer.backend, compiled=request.param)


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


def test_ids_of_every_character_are_those_of_tokenizers(tokenizer, encoder):
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    texts = ["".join(map(chr, codes[begin : begin + 4096])) for begin in range(0, len(codes), 4096)]
    assert encoded(encoder, texts) == tokenizer.encode_batch(texts)
    beside = [
        "".join(f"a{chr(code)} {chr(code)}'s {chr(code)}\n" for code in codes[place::37][:9000]) for place in (0, 5)
    ]
    assert encoded(encoder, beside) == tokenizer.encode_batch(beside)


@pytest.mark.parametrize(
    "run", ["a", "é", "中", "\u0301", " ", "\u3000", "\n", "'", "=", "🙂", "\u200b", "ab", "a ", " \n"]
)
def test_long_runs_are_encoded_as_tokenizers_does(tokenizer, encoder, run):
    texts = [run * 20_000, "x" + run * 3000 + "x", run * 255, run * 256, run * 257]
    assert encoded(encoder, texts) == tokenizer.encode_batch(texts)


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
    marks, counts = cutting.cut(batch.data, batch.offsets, CLASSES.known(batch))
    marked = np.flatnonzero(np.unpackbits(marks.view(np.uint8), bitorder="little"))
    assert np.array_equal(marked, [*words.starts, batch.num_bytes])
    assert np.array_equal(counts, np.bincount(words.documents, minlength=len(texts)))
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


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(any_text, max_size=4), more=st.lists(any_text, max_size=4))
def test_each_distinct_word_has_a_number(texts, more):
    for compiled in (False, True):
        numbers, contents = WordNumbers(compiled), []
        for batch in (TextBatch(texts), TextBatch(more)):
            words, found, data = split_words(batch), numbers.of_batch(batch), batch.bytes.tobytes()
            assert np.array_equal(found.counts, np.bincount(words.documents, minlength=len(batch)))
            places = zip(found.new_starts.tolist(), found.new_lengths.tolist(), strict=True)
            contents += [data[start : start + length] for start, length in places]
            assert len(set(contents)) == len(contents) == len(numbers)
            spans = zip(words.starts.tolist(), words.lengths.tolist(), strict=True)
            assert [contents[number] for number in found.numbers] == [
                data[begin : begin + size] for begin, size in spans
            ]


def test_forgetting_words_changes_nothing(tokenizer, monkeypatch):
    monkeypatch.setattr("tasks.text.encoder.MAX_WORDS", 3)
    small = BatchEncoder(tokenizer.backend)
    for text in [*SAMPLES, "other words", *SAMPLES]:
        assert encoded(small, [text])[0] == tokenizer.encode(text)


@pytest.mark.parametrize("compiled", [False, True])
def test_each_document_ends_with_a_token(compiled):
    ids, lengths = np.array([5, 6, 7], np.int32), np.array([0, 2, 0, 1])
    for chosen, expected in (
        ([True] * 4, [9, 5, 6, 9, 9, 7, 9]),
        ([False, True, True, False], [5, 6, 9, 9]),
        ([True, False, False, True], [9, 7, 9]),
        ([False] * 4, []),
    ):
        tokens = with_ends(ids, lengths, np.array(chosen), 9, np.dtype("<u2"), compiled)
        assert (tokens.tolist(), tokens.dtype) == (expected, np.uint16)


def test_bytes_may_become_several_tokens():
    """A byte that the vocabulary has no token for is written as those of its character in the alphabet."""
    vocabulary = {token: number for number, token in enumerate(["a", "<0xC4>", "<0xA0>", "<unk>"])}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [" " * 2000 + "a", "a a"]
    assert encoded(BatchEncoder(backend, compiled=True), texts) == Tokenizer(backend).encode_batch(texts)
    assert len(encoded(BatchEncoder(backend, compiled=True), texts)[0]) == 4001


def test_the_table_grows_and_survives_colliding_slots():
    table = WordTable(capacity=4)
    hashes = np.array([1, 5, 9, 13, 1 << 40, 2, 0], np.uint64)  # four share a slot
    table.add(hashes[:2])
    table.add(hashes[2:])
    assert table.find(hashes).tolist() == list(range(7))
    assert table.find(np.array([17, 3], np.uint64)).tolist() == [-1, -1]
    at_once = WordTable(capacity=4)
    assert at_once.number(TextBatch(["a b a c d", " b"])).numbers.tolist() == [0, 1, 2, 3, 4, 1]
    found = at_once.number(TextBatch([" d e f", "", " g b c"]))
    assert (found.numbers.tolist(), found.counts.tolist()) == ([4, 5, 6, 7, 1, 3], [3, 0, 3])
    assert (found.new_starts.tolist(), found.new_lengths.tolist()) == ([2, 4, 6], [2, 2, 2])


def test_the_same_vocabulary_is_learnt_from_words_counted_either_way():
    batches = [TextBatch([*SAMPLES, "a b c " * 50, "the cats' hats"]), TextBatch(HOSTILE)]
    found = [tokenizer_of_words(count_words(batches, compiled), 400).to_json() for compiled in (False, True)]
    assert found[0] == found[1]


def word_piece() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(SAMPLES * 3, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"]))
    return backend


def unigram() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(
        SAMPLES * 3, trainers.UnigramTrainer(vocab_size=90, unk_token="<unk>", special_tokens=["<unk>"])
    )
    return backend


def with_other_words() -> tokenizers.Tokenizer:
    """Byte-level, with another pattern than GPT-2's, as most newer models have."""
    backend = tokenizers.Tokenizer(models.BPE())
    pattern = tokenizers.Regex(r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(SAMPLES * 3, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    return backend


def with_added_words(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    backend.add_tokens(["they'll", "東京"])
    return backend


@pytest.mark.parametrize("kind", ["word piece", "unigram", "other words", "added words"])
def test_any_other_tokenizer_is_used_through_the_library(kind, tokenizer):
    makers = {"word piece": word_piece, "unigram": unigram, "other words": with_other_words}
    other = Tokenizer(with_added_words(tokenizer) if kind == "added words" else makers[kind]())
    encoder = encoder_of(other.backend)
    assert isinstance(encoder, PlainEncoder) and encoder.reason
    texts = [*SAMPLES, "", "".join(HOSTILE), *HOSTILE]
    assert encoded(encoder, texts) == [other.encode(text) for text in texts]
    ids, lengths = encoder.encode(TextBatch(texts))
    assert ids.tolist() == [number for text in texts for number in other.encode(text)] and len(lengths) == len(texts)


@pytest.mark.parametrize("change", ["normalizer", "prefix", "split", "added"])
def test_other_tokenizers_are_refused(change):
    backend = tokenizers.Tokenizer(models.BPE())
    if change == "added":
        backend.add_tokens(["word"])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=change == "prefix")
    if change == "normalizer":
        backend.normalizer = normalizers.NFC()
    if change == "split":
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UnsupportedTokenizer):
        BatchEncoder(backend)
