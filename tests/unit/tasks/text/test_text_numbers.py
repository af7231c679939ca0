"""Numbers of texts against a dictionary, and rows of files against arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.clusters import stable_order
from tasks.text.row_file import RowFile
from tasks.text.text_numbers import TextNumbers

Pairs = list[tuple[int, int]]
digests = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30)


def array(pairs: Pairs) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@pytest.mark.parametrize("compiled", [False, True])
@given(batches=st.lists(digests, max_size=8), asked=digests)
def test_numbers_are_those_of_a_dictionary(compiled: bool, batches: list[Pairs], asked: Pairs) -> None:
    """Halves that are equal by chance are told apart, and digests that meet in one slot."""
    numbers, known = TextNumbers(compiled), {}
    for batch in batches:
        met = len(known)
        expected = [known.setdefault(digest, len(known)) for digest in batch]
        found, fresh = numbers.number(array(batch))
        assert found.tolist() == expected
        assert [expected[place] for place in fresh.tolist()] == list(range(met, len(known)))
    assert len(numbers) == len(known)
    assert numbers.digests().tolist() == [list(digest) for digest in known]
    assert numbers.find(array(asked)).tolist() == [known.get(digest, -1) for digest in asked]


def test_many_numbers() -> None:
    """The table grows, and ids that differ in their last bits alone are in it."""
    generator = np.random.default_rng(0)
    found = generator.integers(0, 1 << 63, (30_000, 2), np.uint64)
    found[:, 0] &= np.uint64(0xFFFF_0000_0000_01FF)
    found[generator.integers(0, len(found), 5000)] = found[generator.integers(0, len(found), 5000)]
    ours, theirs = TextNumbers(compiled=True), TextNumbers()
    for part in np.array_split(found, 7):
        for one, other in zip(ours.number(part), theirs.number(part), strict=True):
            assert one.tolist() == other.tolist()
    assert np.array_equal(ours.digests(), theirs.digests())


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


@given(st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=60))
def test_the_quick_order_is_the_stable_one(hashes: list[int]) -> None:
    found = np.array(hashes, np.uint32)
    assert stable_order(found).tolist() == np.argsort(found, kind="stable").tolist()
