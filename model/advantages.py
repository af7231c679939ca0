"""Advantages for PPO: rewards to returns, and what is done to them before the update.

Every function takes the *response axis*: (B, R) tensors whose column j belongs to the j-th generated
token, with a mask that is True on real tokens. Real tokens are a prefix of each row.
"""

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, R) where `mask` (B, R) is True; 0 if it is True nowhere."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """`values` (B, R) with mean 0 and variance 1 over the True positions of `mask`; 0 elsewhere.

    `keep_mean` adds the mean back. The variance is the biased one (divided by n), and 1e-8 is added to
    it before the root, as in Huang et al. 2024 (N+ implementation details, detail on whitening).
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    if keep_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0.0)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16): (advantages, returns), both (B, R).

    δ_t = r_t + γ·V_{t+1} − V_t and A_t = δ_t + γλ·A_{t+1}. A response ends its episode whether by EOS or
    by the length limit, so V is 0 after the last real token. Returns are A + V: the value's targets.
    Padding holds 0 in both.
    """
    if rewards.shape != values.shape or mask.shape != values.shape:
        raise ValueError(
            f"gae needs rewards, values and mask of one shape, got {tuple(rewards.shape)}, {tuple(values.shape)}, "
            f"{tuple(mask.shape)}"
        )
    rewards = torch.where(mask, rewards, 0.0)
    values = torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = torch.where(mask[:, t], delta + gamma * lam * next_advantage, 0.0)
        advantages[:, t] = next_advantage
        next_value = values[:, t]
    return advantages, torch.where(mask, advantages + values, 0.0)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards of each token (B, R): −kl_coef·kl on all, and the response's score (B,) on its last token.

    The KL penalty is part of the reward, as in Ziegler et al. 2019 (eq. 2) and Ouyang et al. 2022 (eq. 2),
    so that the value function learns it as well.
    """
    rewards = torch.where(mask, -kl_coef * kl, 0.0)
    lengths = mask.sum(dim=1)
    rows = torch.nonzero(lengths > 0).flatten()
    rewards[rows, lengths[rows] - 1] += scores[rows]
    return rewards
