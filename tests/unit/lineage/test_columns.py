"""Columns made without pandas are those that pyarrow makes."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.lineage.columns import integers, texts


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts(values):
    assert texts(values).equals(pa.array(values, pa.large_string()))


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_integers(values):
    assert integers(values).equals(pa.array(values, pa.int64()))


def test_integers_of_numpy_need_not_lie_side_by_side():
    assert integers(np.arange(10)[::3]).to_pylist() == [0, 3, 6, 9]


def test_what_is_no_text_is_refused_as_pyarrow_does():
    with pytest.raises(UnicodeEncodeError):
        texts(["\ud800"])
