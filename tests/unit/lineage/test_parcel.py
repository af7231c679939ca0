"""Arrays that leave their process in a file."""

import pickle

import numpy as np
import pytest

from tasks.lineage.parcel import Parcel


@pytest.mark.parametrize("array", [np.arange(70_000, dtype="<u2"), np.array([-1, 1 << 40]), np.zeros(0, np.uint32)])
def test_an_array_comes_back_however_often_it_is_opened(tmp_path, array):
    parcel = Parcel(array, tmp_path)
    parcel.discard()
    assert not list(tmp_path.iterdir())  # nothing is written before it is sent
    sent = pickle.dumps(parcel)
    assert len(sent) < 1000
    first, again = pickle.loads(sent), pickle.loads(sent)
    for came in (first, again, pickle.loads(pickle.dumps(first))):
        assert came.array.dtype == array.dtype and came.array.tolist() == array.tolist()
        came.discard()
    assert not list(tmp_path.iterdir())
    assert first.array.tolist() == array.tolist()
