import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.schedules import learning_rate_factor


def test_warm_up_stable_decay_by_hand():
    factors = [learning_rate_factor("wsd", step, 10, warmup_fraction=0.2, decay_fraction=0.5) for step in range(10)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_cosine_by_hand():
    factors = [learning_rate_factor("cosine", step, 5, warmup_fraction=0.2) for step in range(5)]
    assert factors == pytest.approx([1, 1, (1 + 2**-0.5) / 2, 0.5, (1 - 2**-0.5) / 2])


@given(st.sampled_from(["wsd", "cosine", "constant"]), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.data())
def test_every_step_learns_at_no_more_than_the_full_rate(schedule, steps, warmup, decay, data):
    step = data.draw(st.integers(0, steps - 1))
    factor = learning_rate_factor(schedule, step, steps, warmup_fraction=warmup, decay_fraction=decay)
    assert 0 < factor <= 1
