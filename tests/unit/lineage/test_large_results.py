"""What workers make, sent in a file beside the pipe: it comes as it was, and the file is written again in time."""

import os
import pickle
import resource
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import numpy as np
import pyarrow as pa
import pytest

from tasks.lineage import large_results
from tasks.lineage.large_results import LARGE, Sent, receive, send
from tasks.lineage.parallel import map_ordered

needs_files = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="nameless files are Linux's")
MANY = LARGE // 2


def made(number: int) -> dict[str, object]:
    """Arrays and a table, of a size that depends on the number."""
    count = number * MANY // 4
    return {
        "number": number,
        "tokens": np.arange(count, dtype="<u2"),
        "sizes": np.full(count, number, np.int64),
        "table": pa.table({"text": [f"text {row}" for row in range(count % 999)], "row": range(count % 999)}),
        "nothing": np.zeros(0),
        "matrix": np.asfortranarray(np.full((3, number), number)),
    }


def same(found: dict[str, object], number: int) -> bool:
    wanted = made(number)
    for name, value in wanted.items():
        assert type(found[name]) is type(value)
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype and found[name].tolist() == value.tolist()
        else:
            assert found[name] == value
    return True


@needs_files
@pytest.mark.parametrize("number", [0, 4, 9])
def test_a_large_result_comes_as_it_was_and_a_small_one_is_not_touched(number):
    sent = send(made, number)
    assert isinstance(sent, Sent) == (number > 0)
    assert len(pickle.dumps(sent)) < LARGE
    found = receive(pickle.loads(pickle.dumps(sent)))
    assert same(found, number)
    found["sizes"][:] = 0  # it is the receiver's own


@needs_files
def test_a_file_is_written_again_once_it_was_read_and_not_before():
    sent = [send(made, number) for number in (20, 4, 7)]
    assert len({one.file for one in sent}) == 3
    assert same(receive(sent[1]), 4)
    again = send(made, 6)
    assert again.file == sent[1].file and same(receive(again), 6)
    assert same(receive(sent[2]), 7) and same(receive(sent[0]), 20)
    shorter = [send(made, 2) for _ in sent]
    assert {one.file for one in shorter} == {one.file for one in sent}
    assert all(os.fstat(one.file).st_size < 20 * MANY for one in shorter), "what longer ones took is given back"
    assert all(same(receive(one), 2) for one in shorter)


def test_workers_send_many_of_all_sizes_and_all_come_in_order():
    numbers = [number % 13 for number in range(200)]
    assert all(map(same, map_ordered(made, numbers, 3), numbers))


@needs_files
def test_of_a_worker_that_has_died_it_is_said_so():
    code = (
        "import pickle, sys, numpy as np; from tasks.lineage.large_results import send\n"
        "sys.stdout.buffer.write(pickle.dumps(send(np.arange, 99_999)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    with pytest.raises(BrokenExecutor, match="ended before"):
        receive(pickle.loads(done.stdout))


@needs_files
def test_without_memory_for_a_file_the_result_goes_as_it_is_and_the_file_is_left_for_the_next(monkeypatch):
    monkeypatch.setattr(large_results, "_own_files", [])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # which ends writing as want of memory does
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * LARGE, limits[1]))
    try:
        assert all(same(send(made, 20), 20) for _ in range(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    [file] = large_results._own_files
    assert os.fstat(file).st_size == 0
    sent = send(made, 20)
    assert sent.file == file and same(receive(sent), 20)


def test_without_such_files_the_result_goes_as_it_is(monkeypatch):
    monkeypatch.setattr(large_results, "_own_files", [])
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert same(send(made, 9), 9)
