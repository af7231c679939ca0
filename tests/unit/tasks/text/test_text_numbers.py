"""Numbers of texts against a dictionary, and rows of files against arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.row_file import RowFile
from tasks.text.text_numbers import TextNumbers, find, stable_order

digests = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30)


def array(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@given(st.lists(digests, max_size=8))
def test_numbers_are_those_of_a_dictionary(batches):
    numbers, known = TextNumbers(), {}
    for batch in batches:
        met = len(known)
        expected = [known.setdefault(digest, len(known)) for digest in batch]
        found, fresh = numbers.number(array(batch))
        assert found.tolist() == expected
        assert [expected[place] for place in fresh.tolist()] == list(range(met, len(known)))
    assert len(numbers) == len(known)
    assert numbers.digests().tolist() == [list(digest) for digest in known]


@given(digests, digests)
def test_halves_that_are_equal_by_chance_are_told_apart(known, asked):
    ordered = array(sorted(set(known)))
    places = find(ordered, array(asked))
    assert [place >= 0 for place in places.tolist()] == [digest in known for digest in asked]
    assert all(ordered[place].tolist() == list(asked[row]) for row, place in enumerate(places.tolist()) if place >= 0)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=10))
def test_ranges_are_those_of_the_array(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("rows") / "values.bin"
    values = np.arange(50, dtype=np.uint32) * 7
    values.tofile(path)
    begins, ends = np.array([b for b, _ in pairs], np.int64), np.array([b + n for b, n in pairs], np.int64)
    expected = np.concatenate([values[:0], *(values[b:e] for b, e in zip(begins, ends, strict=True))])
    assert RowFile(path, np.uint32).ranges(begins, ends).tolist() == expected.tolist()


def test_rows_and_a_file_that_is_too_short(tmp_path):
    values = np.arange(12, dtype=np.uint32).reshape(4, 3)
    values.tofile(tmp_path / "values.bin")
    file = RowFile(tmp_path / "values.bin", np.uint32, 3)
    assert len(file) == 4 and file.rows(np.array([2, 0, 1])).tolist() == values[[2, 0, 1]].tolist()
    with pytest.raises(ValueError, match="shorter"):
        file.rows(np.array([4]))


@given(st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)), max_size=60))
def test_the_quick_order_is_the_stable_one(hashes: list[int]) -> None:
    found = np.array(hashes, np.uint64)
    assert stable_order(found).tolist() == np.argsort(found, kind="stable").tolist()
