"""From a rollout and its scores to what PPO learns from: log-probabilities, values, rewards, advantages."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.advantages import gae, masked_mean, token_rewards, whiten
from model.policy_losses import entropy, kl_exact, kl_k1
from model.ppo_settings import PPOSettings
from model.precision import autocast
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

    "score" is what the scorer gave; "reward" is what PPO maximises: the score less the penalties and the KL."""
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
        "reward": float(rewards.sum(dim=1).mean()),
        "score": float(scores.float().mean()),
        "kl": float(kl_exact(ours, theirs).sum()) / num_rows,
        "kl_sampled": float(penalty.sum()) / num_rows,
        "entropy": float(entropy(ours).mean()),
        "length": float(mask.sum()) / num_rows,
        "finished": float(rollout.finished.float().mean()),
        "kl_coef": kl_coef,
        "explained_variance": float(1.0 - residual / spread.clamp(min=1e-8)),
    }
    return Experience(rollout, logprobs, values, advantages, returns), figures
