"""Shingles against sets of word tuples."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.text.shingles import shingle, unique_shingles
from tasks.text.spans import TextBatch

words = st.lists(st.sampled_from(["a", "b", "cc", "überlanger_name", "東", "d"]), max_size=15)


def tuples(text: list[str], size: int) -> list[tuple[str, ...]]:
    if len(text) < size:
        return [tuple(text)] if text else []
    return [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]


@given(st.lists(words, max_size=5), st.integers(1, 6))
def test_shingles_are_equal_where_their_words_are(texts, size):
    found = shingle(TextBatch([" ".join(text) for text in texts]), size)
    expected = [tuples(text, size) for text in texts]
    assert [len(found.of(number)) for number in range(len(texts))] == [len(text) for text in expected]
    pairs = {
        (words, int(value))
        for number, text in enumerate(expected)
        for words, value in zip(text, found.of(number), strict=True)
    }
    assert len(pairs) == len({words for words, _ in pairs}) == len({value for _, value in pairs})


@given(st.lists(words, max_size=5))
def test_unique_shingles_are_the_sorted_set(texts):
    found = shingle(TextBatch([" ".join(text) for text in texts]), 2)
    for number in range(len(texts)):
        assert unique_shingles(found).of(number).tolist() == sorted(set(found.of(number).tolist()))


def test_punctuation_and_spacing_make_no_difference():
    found = shingle(TextBatch(["one, two:\nthree (four) five six", "one two three four five six"]), 5)
    assert found.of(0).tolist() == found.of(1).tolist()
    assert len(found.of(0)) == 2
