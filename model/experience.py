"""From a rollout and its scores to what PPO learns from: log-probabilities, values, rewards, advantages."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.advantages import gae, masked_mean, token_rewards, whiten
from model.policy_losses import entropy, kl_exact, kl_k1
from model.ppo_settings import PPOSettings
from model.precision import Precision, autocast
from model.rollout import Rollout, log_distribution, of_tokens, on_response_axis, state_values
from model.scalar import ScalarModel
from model.transformer import Transformer


@dataclass(frozen=True)
class Experience:
    """A scored rollout: what the updates learn from. All (B, R), 0 on padding."""

    rollout: Rollout
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> "Experience":
        """The rows `index` (b,), trimmed to the longest."""
        rollout = self.rollout.rows(index)
        length = rollout.mask.shape[1]
        parts = (self.logprobs, self.values, self.advantages, self.returns)
        return Experience(rollout, *(part[index, :length] for part in parts))


@torch.no_grad()
def assess(
    policy: Transformer,
    reference: Transformer,
    value: ScalarModel,
    rollout: Rollout,
    scores: Tensor,
    settings: PPOSettings,
    kl_coef: float,
) -> tuple[Experience, dict[str, float]]:
    """The experience in a rollout with scores (B,), and its figures; KL, reward and length are means of responses.

    "reward" is what the scorer gave; "objective" is what PPO maximises: that less the penalties and the KL."""
    mask = rollout.mask
    with autocast(settings.precision, mask.device):
        ours = log_distribution(policy, rollout, settings.temperature)  # (N, V)
        theirs = log_distribution(reference, rollout, settings.temperature)
        values = state_values(value, rollout)  # (B, R)
    logprobs = on_response_axis(of_tokens(ours, rollout), mask)
    penalty = kl_k1(logprobs, on_response_axis(of_tokens(theirs, rollout), mask))
    penalised = scores.float() - settings.missing_eos_penalty * (~rollout.finished).float()
    rewards = token_rewards(penalised, penalty, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, gamma=settings.gamma, lam=settings.lam)
    residual = masked_mean((returns - values) ** 2, mask)
    spread = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    if settings.whiten_advantages:
        advantages = whiten(advantages, mask)
    num_rows = mask.shape[0]
    figures = {
        "reward": float(scores.float().mean()),
        "objective": float(rewards.sum(dim=1).mean()),
        "kl": float(kl_exact(ours, theirs).sum()) / num_rows,
        "kl_sampled": float(penalty.sum()) / num_rows,
        "entropy": float(entropy(ours).mean()),
        "length": float(mask.sum()) / num_rows,
        "finished": float(rollout.finished.float().mean()),
        "kl_coef": kl_coef,
        "explained_variance": float(1.0 - residual / spread.clamp(min=1e-8)),
    }
    return Experience(rollout, logprobs, values, advantages, returns), figures


@torch.no_grad()
def sequence_kl(
    policy: Transformer, reference: Transformer, rollout: Rollout, *, temperature: float, precision: Precision
) -> Tensor:
    """KL(policy ‖ reference) in nats along each response of a rollout sampled from `policy`: (B,), on its device.

    The exact KL of next-token distributions, summed over the response: its mean over samples estimates the KL of
    whole responses without bias, and with less variance than the difference of log-probabilities."""
    with autocast(precision, rollout.mask.device):
        ours = log_distribution(policy, rollout, temperature)
        theirs = log_distribution(reference, rollout, temperature)
    return on_response_axis(kl_exact(ours, theirs), rollout.mask).sum(dim=1)
