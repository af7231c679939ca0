import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.preference import Pair, normalisation, normalised_head, pairs_right, pairwise_loss, ranking_pairs


def test_all_pairs_of_a_ranking_and_ties_left_out():
    assert ranking_pairs([2, 1, 2, 3]) == [Pair(1, 0), Pair(0, 3), Pair(1, 2), Pair(1, 3), Pair(2, 3)]
    assert ranking_pairs([1, 1, 1]) == [] and ranking_pairs([]) == []


@given(st.permutations(range(1, 6)))
def test_a_ranking_without_ties_gives_k_choose_two_pairs_all_in_order(ranks: list[int]):
    pairs = ranking_pairs(ranks)
    assert len(pairs) == 10
    assert all(ranks[pair.better] < ranks[pair.worse] for pair in pairs)


def test_pairwise_loss_by_hand():
    # differences 2, 1 and −1 with weights 1, 1, 2: −log σ = 0.126928, 0.313262, 1.313262
    # (0.126928 + 0.313262 + 2·1.313262)/4 = 0.766678
    scores = torch.tensor([3.0, 1.0, 2.0])
    better, worse = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    loss = pairwise_loss(scores, better, worse, torch.tensor([1.0, 1.0, 2.0]))
    assert loss.item() == pytest.approx(0.766678, abs=1e-5)


def test_margin_is_subtracted_and_weight_zero_leaves_a_pair_out():
    scores = torch.tensor([1.0, 0.0, -50.0])
    better, worse = torch.tensor([0, 2]), torch.tensor([1, 0])
    loss = pairwise_loss(scores, better, worse, torch.tensor([1.0, 0.0]), margin=torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2))


def test_equal_scores_cost_log_two_and_the_gradient_pulls_them_apart():
    scores = torch.zeros(2, requires_grad=True)
    loss = pairwise_loss(scores, torch.tensor([0]), torch.tensor([1]), torch.ones(1))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([-0.5, 0.5]))


def test_no_pairs_give_a_loss_of_zero_that_can_be_differentiated():
    scores = torch.ones(3, requires_grad=True)
    empty = torch.zeros(0, dtype=torch.long)
    loss = pairwise_loss(scores, empty, empty, torch.zeros(0))
    loss.backward()
    assert loss.item() == 0


def test_pairs_right_counts_equal_scores_as_half():
    assert pairs_right([3.0, 1.0, 1.0], [Pair(0, 1), Pair(1, 2), Pair(2, 0)]) == 1.5


def test_normalisation_by_hand():
    mean, deviation = normalisation(torch.tensor([1.0, 3.0, 5.0]))
    assert mean == pytest.approx(3.0) and deviation == pytest.approx(math.sqrt(8 / 3))
    assert normalisation(torch.tensor([2.0, 2.0])) == (2.0, 1.0)


def test_a_normalised_head_gives_mean_zero_and_deviation_one_and_keeps_the_order():
    generator = torch.Generator().manual_seed(0)
    # states as a final norm leaves them: a common part and what differs, all of one length
    states = torch.randn(500, 8, generator=generator) + torch.tensor([4.0, 0, 0, 0, 0, 0, 0, 0])
    states = states / states.norm(dim=1, keepdim=True) * 8**0.5
    weight = torch.randn(1, 8, generator=generator)
    before = (states @ weight.T).squeeze(1)
    after = (states @ normalised_head(weight, states).T).squeeze(1)
    assert after.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert after.std(unbiased=False).item() == pytest.approx(1.0, abs=1e-5)
    agree = ((before[:, None] > before) == (after[:, None] > after)).float().mean().item()
    assert agree > 0.9


def test_a_constant_direction_takes_the_mean_up_exactly():
    # the first coordinate is 1 everywhere, so it serves as the bias: the order cannot change
    states = torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 9.0]])
    after = (states @ normalised_head(torch.tensor([[7.0, 3.0]]), states).T).squeeze(1)
    # 7 + 3·(2, 4, 9) = 13, 19, 34 → mean 22, deviation √78
    torch.testing.assert_close(after, torch.tensor([-9.0, -3.0, 12.0]) / 78**0.5, atol=1e-4, rtol=1e-4)


def test_one_state_cannot_be_normalised():
    with pytest.raises(ValueError, match="at least two responses"):
        normalised_head(torch.ones(1, 2), torch.ones(1, 2))
