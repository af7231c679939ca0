import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.advantages import gae, masked_mean, token_rewards, whiten


def test_gae_equals_the_sums_worked_by_hand():
    # γ = 0.5, λ = 0.5, so γλ = 0.25; no value after the end.
    # δ2 = 4 − 2 = 2;  δ1 = 0 + 0.5·2 − 1 = 0;  δ0 = 1 + 0.5·1 − 3 = −1.5
    # A2 = 2;  A1 = 0 + 0.25·2 = 0.5;  A0 = −1.5 + 0.25·0.5 = −1.375;  R = A + V
    rewards = torch.tensor([[1.0, 0.0, 4.0]])
    values = torch.tensor([[3.0, 1.0, 2.0]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=0.5, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[-1.375, 0.5, 2.0]]))
    torch.testing.assert_close(returns, torch.tensor([[1.625, 1.5, 4.0]]))


def test_gae_of_a_short_row_is_that_of_the_row_alone():
    rewards = torch.tensor([[1.0, 4.0, 99.0], [0.0, 1.0, 2.0]])
    values = torch.tensor([[3.0, 2.0, 77.0], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    advantages, returns = gae(rewards, values, mask, gamma=0.5, lam=0.5)
    # row 0: A1 = 4 − 2 = 2;  A0 = 1 + 0.5·2 − 3 + 0.25·2 = −0.5
    torch.testing.assert_close(advantages[0], torch.tensor([-0.5, 2.0, 0.0]))
    torch.testing.assert_close(returns[0], torch.tensor([2.5, 4.0, 0.0]))


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=8), st.integers(0, 2**31))
def test_with_gamma_and_lambda_one_the_return_is_the_sum_of_later_rewards(rewards: list[float], seed: int):
    reward = torch.tensor([rewards])
    values = torch.randn(1, len(rewards), generator=torch.Generator().manual_seed(seed))
    _, returns = gae(reward, values, torch.ones_like(reward, dtype=torch.bool), gamma=1.0, lam=1.0)
    later = torch.flip(torch.cumsum(torch.flip(reward, [1]), 1), [1])
    torch.testing.assert_close(returns, later, rtol=1e-4, atol=1e-4)


def test_gae_refuses_tensors_of_different_shapes():
    with pytest.raises(ValueError, match="one shape"):
        gae(torch.zeros(1, 2), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool), gamma=1.0, lam=1.0)


def test_whitening_by_hand_ignores_padding():
    # 1, 3 and 5: mean 3, biased variance 8/3, so ±2/√(8/3) = ±1.2247
    values = torch.tensor([[1.0, 3.0], [5.0, 1000.0]])
    mask = torch.tensor([[True, True], [True, False]])
    torch.testing.assert_close(
        whiten(values, mask), torch.tensor([[-1.22474, 0.0], [1.22474, 0.0]]), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        whiten(values, mask, keep_mean=True), torch.tensor([[1.77526, 3.0], [4.22474, 0.0]]), atol=1e-4, rtol=1e-4
    )


def test_whitening_equal_values_gives_zeros_and_not_nan():
    assert whiten(torch.full((2, 2), 7.0), torch.ones(2, 2, dtype=torch.bool)).abs().max() < 1e-3


def test_masked_mean_of_nothing_is_zero():
    assert masked_mean(torch.tensor([[float("nan")]]), torch.zeros(1, 1, dtype=torch.bool)) == 0


def test_the_score_arrives_on_the_last_token_and_the_penalty_on_all():
    scores = torch.tensor([2.0, -1.0, 5.0])
    kl = torch.tensor([[0.5, 1.0, 9.0], [0.1, 0.2, 0.3], [8.0, 8.0, 8.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    rewards = token_rewards(scores, kl, mask, kl_coef=0.1)
    expected = torch.tensor([[-0.05, 1.9, 0.0], [-0.01, -0.02, -1.03], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(rewards, expected)
