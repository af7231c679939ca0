import math

import pytest
import torch

from model.policy_losses import entropy, kl_exact, kl_k1, next_kl_coef, policy_loss, value_loss


def log(*values: float) -> torch.Tensor:
    return torch.tensor([values]).log()


def test_ratio_clipping_by_hand():
    # ratios 2, 2, 0.5, 0.5 with ε = 0.2 and advantages +1, −1, +1, −1:
    # min(2, 1.2) = 1.2;  min(−2, −1.2) = −2;  min(0.5, 0.8) = 0.5;  min(−0.5, −0.8) = −0.8
    # loss = −(1.2 − 2 + 0.5 − 0.8)/4 = 0.275; the clip binds on the first and the last
    old = log(0.2, 0.2, 0.4, 0.4)
    new = log(0.4, 0.4, 0.2, 0.2)
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    result = policy_loss(new, old, advantages, torch.ones(1, 4, dtype=torch.bool), clip=0.2)
    assert result.loss.item() == pytest.approx(0.275)
    assert result.clip_fraction.item() == pytest.approx(0.5)
    # mean of (ρ − 1) − ln ρ over ρ = 2, 2, ½, ½: ((1 − ln 2)·2 + (−½ + ln 2)·2)/4 = 0.25
    assert result.approximate_kl.item() == pytest.approx(0.25)


def test_no_gradient_flows_where_the_clip_binds():
    new = log(0.4, 0.2).requires_grad_()
    result = policy_loss(new, log(0.2, 0.2), torch.tensor([[1.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool), clip=0.2)
    result.loss.backward()
    assert new.grad is not None
    # clipped: 0; unclipped at ρ = 1: d(−ρA)/d log π /2 = −½
    torch.testing.assert_close(new.grad, torch.tensor([[0.0, -0.5]]))


def test_padding_changes_nothing_in_either_loss():
    mask = torch.tensor([[True, False]])
    far = policy_loss(log(0.3, 0.9), log(0.2, 0.1), torch.tensor([[1.0, 50.0]]), mask, clip=0.2)
    near = policy_loss(log(0.3, 0.1), log(0.2, 0.1), torch.tensor([[1.0, 0.0]]), mask, clip=0.2)
    assert far.loss == near.loss and far.clip_fraction == near.clip_fraction == 1.0
    loss, _ = value_loss(torch.tensor([[1.0, 9.0]]), torch.zeros(1, 2), torch.tensor([[3.0, 0.0]]), mask, clip=None)
    assert loss.item() == pytest.approx(2.0)


def test_value_clipping_by_hand():
    # clip 0.2. V = 1, old 0, R = 2: (1−2)² = 1, bounded 0.2: (0.2−2)² = 3.24 → 3.24, binds
    # V = 1, old 0, R = 0: 1, bounded 0.04 → 1.    V = 0.1, old 0, R = 1: both 0.81.
    # loss = ½·(3.24 + 1 + 0.81)/3 = 0.841667
    values = torch.tensor([[1.0, 1.0, 0.1]])
    returns = torch.tensor([[2.0, 0.0, 1.0]])
    loss, fraction = value_loss(values, torch.zeros(1, 3), returns, torch.ones(1, 3, dtype=torch.bool), clip=0.2)
    assert loss.item() == pytest.approx(0.8416667)
    assert fraction.item() == pytest.approx(1 / 3)


def test_exact_kl_and_entropy_by_hand():
    policy, reference = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    # ½·ln 2 + ½·ln(2/3) = 0.143841
    assert kl_exact(policy, reference).item() == pytest.approx(0.1438410)
    assert entropy(policy).item() == pytest.approx(math.log(2))
    assert kl_exact(policy, policy).item() == 0


def test_both_kl_estimators_are_unbiased_and_k3_is_never_negative():
    policy, reference = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    truth = kl_exact(policy.log(), reference.log()).item()
    k1 = kl_k1(policy.log(), reference.log())
    zero, real = torch.zeros(1), torch.ones(1, dtype=torch.bool)
    tokens = zip(reference.log().split(1), policy.log().split(1), strict=True)
    k3 = torch.stack([policy_loss(new, old, zero, real, clip=0.2).approximate_kl for new, old in tokens])
    # the expectation under the policy, summed over all outcomes, is exact
    assert (policy * k1).sum().item() == pytest.approx(truth, rel=1e-5)
    assert (policy * k3).sum().item() == pytest.approx(truth, rel=1e-5)
    assert (k3 >= 0).all() and (k1 < 0).any()


def test_the_kl_controller_moves_towards_its_target_and_is_bounded():
    # K = 64/640 = 0.1. At twice the target the error is clipped to 0.2: 0.1·1.02
    assert next_kl_coef(0.1, 8.0, target=4.0, horizon=640, batch_size=64) == pytest.approx(0.102)
    # 10% under the target: 0.1·(1 − 0.1·0.1)
    assert next_kl_coef(0.1, 3.6, target=4.0, horizon=640, batch_size=64) == pytest.approx(0.099)
    assert next_kl_coef(0.1, 100.0, target=None, horizon=640, batch_size=64) == 0.1
