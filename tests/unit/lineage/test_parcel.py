"""Arrays that leave their process in a file."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

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


def test_the_file_of_an_array_that_was_read_holds_the_next_one_which_may_be_longer_or_shorter(tmp_path):
    arrays = [np.arange(1000), np.arange(5000, dtype="<u2"), np.arange(3), np.zeros(0, "<u2"), np.arange(900) + 7]
    for array in arrays:
        came = pickle.loads(pickle.dumps(Parcel(array, tmp_path)))
        assert came.array.dtype == array.dtype and came.array.tolist() == array.tolist()
        came.discard()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_one_parcels_until_it_is_discarded(tmp_path):
    first, second = (pickle.loads(pickle.dumps(Parcel(np.full(9, number), tmp_path))) for number in (1, 2))
    first.discard()
    third = pickle.loads(pickle.dumps(Parcel(np.full(9, 3), tmp_path)))
    assert second.array.tolist() == [2] * 9 and third.array.tolist() == [3] * 9
    assert len(list(tmp_path.iterdir())) == 2


def test_several_processes_never_take_the_same_free_file(tmp_path):
    with ProcessPoolExecutor(3) as pool:
        for _ in range(20):
            came = list(pool.map(partial(numbered, folder=tmp_path), range(12)))
            assert [parcel.array.tolist() for parcel in came] == [[number] * 2000 for number in range(12)]
            for parcel in came:
                parcel.discard()
    assert len(list(tmp_path.iterdir())) <= 12


def numbered(number: int, folder: Path) -> Parcel:
    return Parcel(np.full(2000, number), folder)
