import numpy as np
import pytest

from model.bootstrap import bootstrap_interval


def test_the_interval_is_near_the_normal_one_for_a_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    mean, low, high = bootstrap_interval(values, seed=1)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - half, abs=0.15 * half)
    assert high == pytest.approx(mean + half, abs=0.15 * half)


def test_weights_give_a_ratio_of_sums():
    bits, size = np.array([10.0, 30.0]), np.array([10.0, 10.0])
    mean, low, high = bootstrap_interval(bits, weights=size)
    assert (mean, low, high) == (2.0, 1.0, 3.0)


def test_equal_ratios_have_an_interval_of_no_width():
    size = np.arange(1.0, 50.0)
    assert bootstrap_interval(2 * size, weights=size) == pytest.approx((2.0, 2.0, 2.0))


def test_it_is_a_function_of_the_seed_and_not_of_the_chunks(monkeypatch):
    values = np.arange(30.0)
    whole = bootstrap_interval(values, seed=4)
    assert whole == bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)
    monkeypatch.setattr("model.bootstrap._ELEMENTS_AT_ONCE", 30 * 7)
    assert whole == bootstrap_interval(values, seed=4)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0]]])
def test_useless_values_are_refused(values):
    with pytest.raises(ValueError, match="bootstrap needs"):
        bootstrap_interval(values)
