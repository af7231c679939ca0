"""The settings of PPO, each with its source."""

from dataclasses import dataclass

from model.precision import Precision


@dataclass(frozen=True)
class PPOSettings:
    """How to align; every field shapes the result. KL is in nats."""

    iterations: int
    batch_size: int = 64  # responses an iteration
    max_new_tokens: int = 40
    temperature: float = 1.0  # log-probabilities are taken at this temperature too
    epochs: int = 2  # passes over an iteration's responses
    minibatches: int = 2  # updates a pass; 2 × 2 learns as 4 × 1 did on a toy reward, at half the cost
    lr: float = 3e-5
    value_lr: float = 1e-4
    linear_decay: bool = False  # of both rates, to 0 at the end (Huang et al. 2024); else constant
    warmup_fraction: float = 0.0
    adam_eps: float = 1e-5  # Huang et al. 2024: PyTorch's 1e-8 gives larger first updates
    grad_clip: float | None = 1.0
    gamma: float = 1.0  # no discounting within a response (Ziegler et al. 2019)
    lam: float = 0.95
    clip: float = 0.2
    value_clip: float | None = 0.2
    whiten_advantages: bool = True
    kl_coef: float = 0.1
    kl_target: float | None = None  # nats a response; None: kl_coef stays as it is
    kl_horizon: int = 10_000  # responses, see policy_losses.next_kl_coef
    update_kl_limit: float | None = 0.05  # KL(rollout policy ‖ policy) a token that ends an iteration's updates early
    missing_eos_penalty: float = 1.0  # off the score of a response that does not end by itself (Stiennon et al. 2020)
    precision: Precision = "fp32"
    seed: int = 0
