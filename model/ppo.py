"""PPO on a language model's own answers (Schulman et al. 2017; for language: Ziegler et al. 2019, Ouyang et al. 2022).

One iteration: sample responses to a batch of prompts; score them; subtract a KL penalty to the frozen reference from
every token's reward; estimate advantages; update policy and value on mini-batches for a few epochs.

The value function is a network of its own, not a head on the policy: its loss is then free of the policy's small
learning rate and cannot pull the policy's features about, and, started from the reward model as in Ouyang et al.
2022 (appendix C.4), it predicts the reward from the first iteration. The reward model is smaller than the policy, so
this costs less than half of what the policy does.

Exactness: prompts and samples are a function of (seed, iteration), and a checkpoint holds policy, value, moments,
KL coefficient and generators; so a killed run, started again, ends with the bytes of one that was not.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from model.checkpoint import CheckpointClock, Checkpoints, numerics
from model.determinism import deterministic_algorithms
from model.distributed import Ranks
from model.experience import Experience, assess
from model.generation import generate
from model.optim import Optimizers, clip_gradients
from model.policy_losses import next_kl_coef, policy_loss, value_loss
from model.ppo_settings import PPOSettings
from model.precision import autocast
from model.resume import Resumable
from model.rollout import Rollout, collate, log_distribution, of_tokens, on_response_axis, state_values
from model.sampling import Sampling
from model.scalar import ScalarModel
from model.schedules import Schedule, learning_rate_factor
from model.seeding import derive, generator
from model.sharding import rows_of
from model.stopping import StopRequest, TrainingStopped
from model.throughput import flops_per_token, matmul_peak
from model.training import NonFiniteLoss, check_weights
from model.transformer import Transformer


class Scorer(Protocol):
    """Scores of responses: (B,) tensor, and further figures to log. A pure function of its arguments."""

    def __call__(self, prompts: list[int], responses: list[list[int]]) -> tuple[Tensor, Mapping[str, float]]:
        """`prompts`: positions in the list of prompts; `responses`: new token ids, with EOS where there was one."""


def prompt_batch(num_prompts: int, batch_size: int, seed: int, iteration: int) -> list[int]:
    """Positions of an iteration's prompts: each pass over all prompts has an order of its own, without gaps."""
    chosen = []
    order: list[int] = []
    order_of = -1
    for place in range(iteration * batch_size, (iteration + 1) * batch_size):
        if place // num_prompts != order_of:
            order_of = place // num_prompts
            order = torch.randperm(num_prompts, generator=generator(seed, "ppo prompts", order_of)).tolist()
        chosen.append(order[place % num_prompts])
    return chosen


OnStep = Callable[[int, dict[str, float]], None]


def train_ppo(
    policy: Transformer,
    reference: Transformer,
    value: ScalarModel,
    prompts: Sequence[Sequence[int]],
    score: Scorer,
    settings: PPOSettings,
    *,
    eos_token_id: int,
    pad_token_id: int,
    checkpoint_dir: Path | None = None,
    checkpoint_seconds: float = 30,
    checkpoint_steps: int | None = None,
    device: str | torch.device = "cpu",
    on_step: OnStep | None = None,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_every: int | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Trains `policy` and `value` in place for `settings.iterations`; goes on from `checkpoint_dir` if it can.

    `reference` is the model the KL is measured to; it must not share parameters with `policy`. After each iteration
    (counted from 1) `on_step` gets "reward" (what `score` gave), "objective" (that less penalties and KL), "kl",
    "entropy", "clip_fraction", "length", "finished", "value_loss", "policy_loss", "kl_coef", …, what `score` reports,
    and every `evaluate_every` iterations what `evaluate` returns. Raises TrainingStopped (with a checkpoint saved) on
    SIGTERM or `should_stop()`, NonFiniteLoss, and CheckpointMismatch for a folder of another run.

    In a process group (see model.distributed) each rank samples and learns from its rows of the batch, and scores all;
    the first one calls `on_step` and `evaluate`, and saves.
    """
    if not prompts:
        raise ValueError("PPO needs at least one prompt")
    num_processes, rows = Ranks.here().size, settings.batch_size // settings.minibatches
    if num_processes > rows:
        raise ValueError(
            f"batch_size {settings.batch_size} gives {settings.minibatches} mini-batches of {rows} rows, and "
            f"{num_processes} process{'es need' if num_processes > 1 else ' needs'} one each: raise batch_size, or "
            "lower minibatches, resources.nproc or resources.nnodes"
        )
    run = _Run(policy, reference, value, prompts, score, settings, eos_token_id, pad_token_id, torch.device(device))
    checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir)
    start = run.resume(checkpoints) if checkpoints else 0
    clock = CheckpointClock(checkpoint_seconds, every_steps=checkpoint_steps)
    with StopRequest(should_stop) as stop, deterministic_algorithms(run.device.type == "cuda"):
        for iteration in range(start, settings.iterations):
            figures = run.iterate(iteration)
            run.check_weights(iteration, figures)
            done = iteration + 1
            if evaluate and evaluate_every and done % evaluate_every == 0 and run.ranks.first:
                figures |= evaluate(done)
            if on_step and run.ranks.first:
                on_step(done, figures)
            last = done == settings.iterations
            stopping, due = run.ranks.any(
                [stop.requested() and not last, bool(checkpoints) and clock.due(done) and run.ranks.first], run.device
            )
            if checkpoints and (stopping or last or due):
                with clock.measured():
                    run.save(checkpoints, done)
            if stopping:
                raise TrainingStopped(done, saved=checkpoints is not None)


class _Run:
    """The state of one call of `train_ppo`."""

    def __init__(
        self,
        policy: Transformer,
        reference: Transformer,
        value: ScalarModel,
        prompts: Sequence[Sequence[int]],
        score: Scorer,
        settings: PPOSettings,
        eos_token_id: int,
        pad_token_id: int,
        device: torch.device,
    ) -> None:
        self.policy = policy.to(device).eval()
        self.reference = reference.to(device).eval()
        self.value = value.to(device).eval()
        self.prompts = [list(prompt) for prompt in prompts]
        self.score = score
        self.settings = settings
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id
        self.device = device
        self.kl_coef = settings.kl_coef
        self.trained = nn.ModuleDict({"policy": policy, "value": value})
        groups = [
            {"params": list(policy.parameters()), "lr": settings.lr},
            {"params": list(value.parameters()), "lr": settings.value_lr},
        ]
        # No weight decay: it would pull towards 0, where the KL penalty pulls towards the reference.
        adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=settings.adam_eps, weight_decay=0.0, fused=True)
        self.optimizers = Optimizers(self.trained, [adam])
        self.ranks = Ranks.here()
        self.resumable = Resumable(self.trained, self.optimizers, asdict(settings), numerics(device), self.ranks)

    def iterate(self, iteration: int) -> dict[str, float]:
        """One iteration (0-based): sample, score, learn. Returns its figures."""
        settings = self.settings
        began = time.perf_counter()
        chosen = prompt_batch(len(self.prompts), settings.batch_size, settings.seed, iteration)
        prompts = [self.prompts[index] for index in chosen]
        own = rows_of(len(prompts), self.ranks.rank, self.ranks.size)
        sampled = generate(
            self.policy,
            prompts[own],
            max_new_tokens=settings.max_new_tokens,
            sampling=Sampling(settings.temperature),
            eos_token_id=self.eos_token_id,
            pad_token_id=self.pad_token_id,
            seed=derive(settings.seed, "ppo rollout", iteration),
            batch_size=settings.batch_size,
            first=own.start,
        )
        responses = self.ranks.gather_lists(sampled, -(-len(prompts) // self.ranks.size), settings.max_new_tokens)
        generated = time.perf_counter()
        scores, reported = self.score(chosen, responses)
        rollout = collate(
            prompts, responses, eos_token_id=self.eos_token_id, pad_token_id=self.pad_token_id, device=self.device
        )
        experience, figures = assess(
            self.policy, self.reference, self.value, rollout, scores.to(self.device), settings, self.kl_coef
        )
        assessed = time.perf_counter()
        figures |= self.update(experience, iteration)
        ended = time.perf_counter()
        self.kl_coef = next_kl_coef(
            self.kl_coef,
            figures["kl"],
            target=settings.kl_target,
            horizon=settings.kl_horizon,
            batch_size=settings.batch_size,
        )
        seconds = ended - began
        peak = matmul_peak(self.device, settings.precision) * self.ranks.size
        return figures | {
            **reported,
            "tokens_per_second": int(rollout.mask.sum()) / seconds,
            "mfu": self.flops(rollout, figures["updates"]) / seconds / peak,
            "seconds_generate": generated - began,
            "seconds_score": assessed - generated,
            "seconds_update": ended - assessed,
        }

    def flops(self, rollout: Rollout, updates: float) -> float:
        """What an iteration with so many updates needs at least: the policy samples and is assessed beside the
        reference, the value model is assessed (a forward is a third of a pass), and both learn. Scoring is left out."""
        tokens, width = rollout.input_ids.numel(), rollout.input_ids.shape[1]
        passes = updates / self.settings.minibatches
        policy, value = flops_per_token(self.policy, width), flops_per_token(self.value, width)
        assert policy is not None and value is not None
        return tokens * (policy * (1 + passes) + value * (1 / 3 + passes))

    def update(self, experience: Experience, iteration: int) -> dict[str, float]:
        """Epochs of mini-batches over one rollout; returns the mean figures of the updates that were made."""
        settings = self.settings
        schedule: Schedule = "wsd" if settings.linear_decay else "constant"
        factor = learning_rate_factor(
            schedule,
            iteration,
            settings.iterations,
            warmup_fraction=settings.warmup_fraction,
            decay_fraction=1.0 - settings.warmup_fraction,
        )
        self.optimizers.set_factor(factor)
        chance = generator(settings.seed, "ppo mini-batches", iteration)
        totals: dict[str, float] = {}
        updates = 0
        for _ in range(settings.epochs):
            order = torch.randperm(experience.logprobs.shape[0], generator=chance)
            for index in order.tensor_split(settings.minibatches):
                own = index.tensor_split(self.ranks.size)[self.ranks.rank]
                figures = self.learn(experience.rows(own.to(self.device)), iteration)
                updates += 1
                for name, number in figures.items():
                    totals[name] = totals.get(name, 0.0) + number
                # Early stopping of an iteration's updates, as in OpenAI's Spinning Up (Achiam 2018).
                if settings.update_kl_limit is not None and figures["update_kl"] > settings.update_kl_limit:
                    return _means(totals, updates) | {"lr": settings.lr * factor}
        return _means(totals, updates) | {"lr": settings.lr * factor}

    def learn(self, part: Experience, iteration: int) -> dict[str, float]:
        """One update of policy and value on one mini-batch; each has its own gradient norm to clip."""
        settings, mask = self.settings, part.rollout.mask
        with autocast(settings.precision, self.device):
            log_probabilities = log_distribution(self.policy, part.rollout, settings.temperature)
            logprobs = on_response_axis(of_tokens(log_probabilities, part.rollout), mask)
            values = state_values(self.value, part.rollout)
        surrogate = policy_loss(logprobs, part.logprobs, part.advantages, mask, settings.clip)
        error, value_clip_fraction = value_loss(values, part.values, part.returns, mask, settings.value_clip)
        figures = {
            "policy_loss": surrogate.loss.detach(),
            "value_loss": error.detach(),
            "clip_fraction": surrogate.clip_fraction,
            "value_clip_fraction": value_clip_fraction,
            "update_kl": surrogate.approximate_kl,
        }
        means = self._backward(surrogate.loss + error, figures, int(mask.sum()))
        policy_norm = float(clip_gradients(self.policy.parameters(), settings.grad_clip))
        value_norm = float(clip_gradients(self.value.parameters(), settings.grad_clip))
        if not math.isfinite(policy_norm + value_norm):
            raise NonFiniteLoss(iteration, means["policy_loss"] + means["value_loss"], policy_norm + value_norm)
        self.optimizers.step()
        self.optimizers.zero_grad()
        return means | {"grad_norm": policy_norm, "value_grad_norm": value_norm}

    def _backward(self, loss: Tensor, figures: Mapping[str, Tensor], tokens: int) -> dict[str, float]:
        """Leaves the gradient of a mini-batch's loss, and returns its figures: all are means over tokens, so those of
        each process count by the tokens of its rows."""
        if not self.ranks.together:
            loss.backward()
            return {name: float(value) for name, value in figures.items()}
        (loss * tokens).backward()
        parameters = self.optimizers.parameters()
        self.ranks.sum_gradients(parameters)
        total, *sums = self.ranks.sums([tokens, *(float(value) * tokens for value in figures.values())], self.device)
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / max(total, 1))
        return {name: value / max(total, 1) for name, value in zip(figures, sums, strict=True)}

    def check_weights(self, iteration: int, figures: Mapping[str, float]) -> None:
        """Raises NonFiniteLoss where the updates of an iteration have left weights that are not finite."""
        loss, norm = figures["policy_loss"] + figures["value_loss"], figures["grad_norm"] + figures["value_grad_norm"]
        check_weights(self.optimizers.parameters(), self.ranks, self.device, iteration, loss, norm)

    def save(self, checkpoints: Checkpoints, done: int) -> None:
        """Saves all that the iterations after `done` depend on."""
        self.resumable.save(checkpoints, done, {"kl_coef": self.kl_coef})

    def resume(self, checkpoints: Checkpoints) -> int:
        """Restores the newest valid checkpoint; returns the number of iterations done (0 if there is none)."""
        done, state = self.resumable.resume(checkpoints, self.settings.iterations)
        self.kl_coef = state.get("kl_coef", self.kl_coef)
        return done


def _means(totals: Mapping[str, float], updates: int) -> dict[str, float]:
    """The figures of so many updates, averaged, and how many they were."""
    return {name: total / updates for name, total in totals.items()} | {"updates": float(updates)}
