import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prefetch import AHEAD, Prefetched


def batch(step):
    time.sleep(0.002 * (step % 3))  # so that later batches are ready before earlier ones
    return {"step": torch.tensor(step)}


@settings(deadline=None, max_examples=15)
@given(start=st.integers(0, 5), more=st.integers(0, 12), workers=st.integers(0, 4))
def test_each_batch_comes_once_in_order_whoever_reads(start, more, workers):
    with Prefetched(batch, start, start + more, workers) as read:
        assert [int(read(step)["step"]) for step in range(start, start + more)] == list(range(start, start + more))


def test_no_more_is_read_ahead_than_is_wanted_soon_and_nothing_after_the_end():
    asked, first = [], threading.Event()

    def slow(step):
        asked.append(step)
        first.set()
        return {}

    with Prefetched(slow, 0, 100, 2) as read:
        read(0)
        time.sleep(0.05)
        assert sorted(asked) == list(range(2 * AHEAD + 1))
    with Prefetched(slow, 0, 2, 2) as read:
        asked.clear()
        read(0), read(1)
    assert sorted(asked) == [0, 1]


def test_an_error_of_reading_comes_with_its_step():
    def broken(step):
        if step == 2:
            raise OSError("the shard is gone")
        return {}

    with Prefetched(broken, 0, 5, 1) as read:
        read(0), read(1)
        with pytest.raises(OSError, match="shard is gone"):
            read(2)


def test_threads_end_with_the_context():
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Prefetched(batch, 0, 50, 3) as read:
        read(0)
        raise KeyboardInterrupt
    deadline = time.monotonic() + 300
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
