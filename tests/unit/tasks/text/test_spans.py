"""Positions and hashes in a batch against the same computed one text at a time."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.spans import LONG_SPAN, TextBatch

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=6)


def pieces(batch: TextBatch, spans) -> list[tuple[int, str]]:
    data = batch.bytes.tobytes()
    return [
        (int(document), data[start : start + length].decode())
        for start, length, document in zip(spans.starts, spans.lengths, spans.documents, strict=True)
    ]


@given(texts)
def test_runs_are_those_of_a_regular_expression(column):
    batch = TextBatch(column)
    expected = [(number, run) for number, text in enumerate(column) for run in re.findall(r"[^\n]+", text)]
    assert pieces(batch, batch.runs(batch.bytes != ord("\n"))) == expected


@given(texts)
def test_characters_are_counted_in_each_text(column):
    assert TextBatch(column).num_chars.tolist() == [len(text) for text in column]


def test_words_of_many_scripts():
    batch = TextBatch(["Don't go_there 3x", "naïve Straße", "Привет мир", "東京タワー is", "ไทย", "हिन्दी", ""])
    assert pieces(batch, batch.words()) == [
        (0, "Don"), (0, "t"), (0, "go_there"), (0, "3x"), (1, "naïve"), (1, "Straße"), (2, "Привет"), (2, "мир"),
        (3, "東"), (3, "京"), (3, "タ"), (3, "ワ"), (3, "ー"), (3, "is"), (4, "ไ"), (4, "ท"), (4, "ย"), (5, "हिन्दी"),
    ]  # fmt: skip


@given(st.lists(st.text("ab\u00e9", min_size=1, max_size=30), min_size=1, max_size=12))
def test_equal_words_and_only_they_hash_alike(words):
    words = [*words, "a" * (LONG_SPAN + 5), "a" * (LONG_SPAN + 6), "a" * (LONG_SPAN + 5)]
    batch = TextBatch([" ".join(words)])
    hashes = batch.hashes(batch.words()).tolist()
    assert len(set(hashes)) == len(set(words))
    assert all((hashes[i] == hashes[0]) == (word == words[0]) for i, word in enumerate(words))


def test_slices_chunks_and_nulls_of_arrow_columns():
    column = pa.chunked_array([["äb c", None], ["d"]], pa.string())
    batch = TextBatch(column.slice(0, 3))
    assert pieces(batch, batch.words()) == [(0, "äb"), (0, "c"), (2, "d")]
    assert pieces(TextBatch(column.slice(2)), TextBatch(column.slice(2)).words()) == [(0, "d")]


@given(st.lists(st.text(st.sampled_from(" \n\t\u3000\xa0ab東é\u2028\x1c\x85"), max_size=8), max_size=6))
def test_even_spacing_is_pythons(texts):
    data, offsets = TextBatch(texts).evenly_spaced()
    found = [data[begin:end].tobytes().decode() for begin, end in pairwise(offsets.tolist())]
    assert found == [" ".join(text.split()) for text in texts]


@given(st.lists(st.text(max_size=5), max_size=8), st.data())
def test_some_texts_of_a_batch_are_a_batch(texts, data):
    rows = sorted(data.draw(st.sets(st.integers(0, len(texts) - 1)))) if texts else []
    taken, expected = TextBatch(texts).take(np.array(rows, np.int64)), TextBatch([texts[row] for row in rows])
    assert taken.data.tolist() == expected.data.tolist() and taken.offsets.tolist() == expected.offsets.tolist()
