"""Which token is chosen from logits: by which distribution, and within which bounds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from model.errors import InputError
from model.sampling import Sampling, choose, invert

V = 40


def test_frequencies_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]])
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5):
        drawn = choose(logits.expand(len(uniform), -1), uniform, Sampling(temperature))
        shares = drawn.bincount(minlength=5) / len(uniform)
        expected = (logits[0] / temperature).softmax(-1)
        assert (shares - expected).abs().max() < 4 * (0.25 / len(uniform)) ** 0.5  # four standard errors


@pytest.mark.parametrize("top_p", [None, 0.9])
@pytest.mark.parametrize("temperature", [1e-19, 1e-21, 1e-40, 1e-320])
def test_the_coldest_temperatures_choose_as_the_greedy_one_does(temperature, top_p):
    logits = torch.tensor([[0.1, -3.0, 0.2], [500.0, -500.0, 499.9], [-9.0, -8.0, -9.0]])
    drawn = choose(logits, torch.tensor([0.0, 0.5, 0.999]), Sampling(temperature, top_p=top_p))
    assert drawn.tolist() == logits.argmax(1).tolist()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.one_of(st.none(), st.integers(1, 60)),
    top_p=st.one_of(st.none(), st.floats(0.05, 1.0)),
)
def test_the_same_tokens_are_possible_as_in_transformers(seed, temperature, top_k, top_p):
    logits = 3 * torch.randn(1, V, generator=torch.Generator().manual_seed(seed))
    warped = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p is not None and top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    expected = warped.softmax(-1)[0]
    uniform = torch.arange(0.5, 5000) / 5000  # the distribution, inverted at even distances
    drawn = choose(logits.expand(5000, -1), uniform, Sampling(temperature, top_k, top_p))
    shares = drawn.bincount(minlength=V) / 5000
    assert (shares - expected).abs().max() <= 1.01 / 5000
    assert (expected[drawn] > 0).all()


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.0, 1e-6, 0.3, 1.0, 7.0]), min_size=1, max_size=30).filter(any),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
)
def test_inversion_never_takes_a_column_without_weight(weights, uniform):
    column = invert(torch.tensor([weights]), torch.tensor([uniform]))
    assert 0 <= int(column) < len(weights)
    assert weights[int(column)] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": 1e-300}, "top_p is 1e-300: use a share from 1e-20"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"repetition_penalty": 1e-300}, "a number from 0.001 to 1000"),
        ({"repetition_penalty": 1e4}, "a number from 0.001 to 1000"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty is inf"),
    ],
)
def test_samplings_out_of_bounds_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        Sampling(**change)
