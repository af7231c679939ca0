"""PPO's losses, KL estimators and KL controller as pure functions of (B, R) tensors on the response axis."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.advantages import masked_mean


@dataclass(frozen=True)
class PolicyLoss:
    """What one evaluation of the clipped policy objective gives; scalars."""

    loss: Tensor
    clip_fraction: Tensor  # share of tokens where the clip binds
    approximate_kl: Tensor  # KL(old ‖ new), by the estimator k3 of Schulman 2020: unbiased, never negative


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> PolicyLoss:
    """Clipped surrogate objective (Schulman et al. 2017, eq. 7), negated: mean over real tokens of
    −min(ρ·A, clip(ρ, 1−ε, 1+ε)·A) with ρ = exp(log π − log π_old)."""
    difference = torch.where(mask, logprobs - old_logprobs, 0.0)
    ratio = difference.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    with torch.no_grad():
        binds = (clipped > unclipped).float()
        # KL(old ‖ new) on samples of old: E[(ρ − 1) − log ρ]
        approximate_kl = masked_mean(ratio - 1.0 - difference, mask)
    return PolicyLoss(
        loss=masked_mean(torch.maximum(unclipped, clipped), mask),
        clip_fraction=masked_mean(binds, mask),
        approximate_kl=approximate_kl,
    )


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float | None
) -> tuple[Tensor, Tensor]:
    """(loss, share of tokens where the clip binds). Loss: ½·mean of max((V − R)², (clip(V) − R)²), where V may
    move by at most `clip` from the value at the rollout (Huang et al. 2024, N+, "value function clipping";
    first in OpenAI's baselines). `clip=None` is the plain ½·mean (V − R)²."""
    error = (values - returns) ** 2
    if clip is None:
        return 0.5 * masked_mean(error, mask), torch.zeros((), device=values.device)
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    bounded_error = (bounded - returns) ** 2
    with torch.no_grad():
        fraction = masked_mean((bounded_error > error).float(), mask)
    return 0.5 * masked_mean(torch.maximum(error, bounded_error), mask), fraction


def kl_k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """log π − log π_ref of sampled tokens: unbiased for KL(π ‖ π_ref), high variance, may be negative.

    The estimator inside the reward (Ziegler et al. 2019); its name is that of Schulman 2020, "Approximating KL
    divergence"."""
    return logprobs - reference_logprobs


def kl_exact(log_distribution: Tensor, reference_log_distribution: Tensor) -> Tensor:
    """KL(π ‖ π_ref) of next-token distributions given as log-probabilities (..., V) → (...), in nats.

    Summed along a response sampled from π it is an unbiased estimate of the sequence KL with less variance
    than k1, since only the states are sampled and not the tokens."""
    return (log_distribution.exp() * (log_distribution - reference_log_distribution)).sum(dim=-1)


def entropy(log_distribution: Tensor) -> Tensor:
    """Entropy of log-probabilities (..., V) → (...), in nats."""
    return -(log_distribution.exp() * log_distribution).sum(dim=-1)


def next_kl_coef(kl_coef: float, kl: float, *, target: float | None, horizon: int, batch_size: int) -> float:
    """KL coefficient of the next iteration: fixed without `target`, else the proportional
    controller of Ziegler et al. 2019, §2.2: β ← β·(1 + K·clip(KL/target − 1, −0.2, 0.2)), where
    K = batch_size/horizon as in their published code.

    `kl` and `target` are nats a sequence, `horizon` and `batch_size` count responses."""
    if target is None:
        return kl_coef
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * batch_size / horizon)
