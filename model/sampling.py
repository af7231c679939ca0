"""How the next token is chosen: penalty, temperature, top-k, top-p, and a draw that a given number decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.errors import InputError, NotFinite


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn, in this order; the defaults draw from the model's own distribution.

    repetition_penalty: logits of tokens that the prompt or the answer holds already are divided by it where they are
    above 0, and multiplied where they are below (Keskar et al. 2019, section 4.1, as transformers does it). 1: none.
    temperature: logits are divided by it. 0: the most probable token, always.
    top_k: only so many tokens, the most probable. top_p: only the fewest tokens whose probabilities reach this share.

    Raises `InputError` for what is out of bounds; those of top_p and the penalty keep all numbers within fp32.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature is {self.temperature}: use 0 for greedy or a finite number above it.")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}: use at least 1, or None to allow every token.")
        if self.top_p is not None and not 1e-20 <= self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}: use a share from 1e-20 to 1, or None to allow every token.")
        if not 1e-3 <= self.repetition_penalty <= 1e3:
            raise InputError(
                f"repetition_penalty is {self.repetition_penalty}: use 1 for none, above 1 against repetition, and a "
                "number from 0.001 to 1000."
            )


GREEDY = Sampling(temperature=0.0)
COLDEST = 1e-20  # colder temperatures choose as this does; logits over them could be infinite


class Chooser:
    """Chooses tokens for the rows of a batch, each by its own `Sampling`, and remembers what each row holds."""

    def __init__(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling], vocab_size: int, device: torch.device
    ) -> None:
        """samplings: one for each prompt."""
        self.samplings = list(samplings)
        self.seen: Tensor | None = None  # (B, V) bool: tokens of prompt and answer; None where nothing is penalised
        if any(sampling.repetition_penalty != 1 for sampling in samplings):
            self.seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
            for row, tokens in enumerate(prompts):
                self.seen[row, torch.tensor(list(tokens), device=device)] = True
            self.penalties = torch.tensor([[s.repetition_penalty] for s in samplings], device=device)  # (B, 1)
        self._group()

    def _group(self) -> None:
        self.groups: dict[Sampling, list[int]] = {}
        for row, sampling in enumerate(self.samplings):
            self.groups.setdefault(sampling, []).append(row)

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """A token for each row of logits (B, V) by uniform (B,) in [0, 1): (B,). Raises `NotFinite`."""
        if not math.isfinite(logits.sum()):  # one number that is not finite makes the sum so
            raise NotFinite
        if self.seen is not None:
            penalised = torch.where(logits < 0, logits * self.penalties, logits / self.penalties)
            logits = torch.where(self.seen, penalised, logits)
        if len(self.groups) == 1:
            tokens = choose(logits, uniform, self.samplings[0])
        else:
            tokens = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
            for sampling, rows in self.groups.items():
                tokens[rows] = choose(logits[rows], uniform[rows], sampling)
        if self.seen is not None:
            self.seen.scatter_(1, tokens[:, None], True)
        return tokens

    def take(self, rows: Sequence[int]) -> None:
        """Make row b what row rows[b] was, as `Decoder.take`."""
        self.samplings = [self.samplings[row] for row in rows]
        self._group()
        if self.seen is not None:
            self.seen, self.penalties = self.seen[rows], self.penalties[rows]


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """A token for each row of logits (B, V), (B,), by inverting the distribution at uniform (B,) in [0, 1).

    The penalty is not applied here: `Chooser` knows what a row holds.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    if sampling.temperature < COLDEST:
        logits = (logits - logits.amax(dim=-1, keepdim=True)) / COLDEST
    else:
        logits = logits / sampling.temperature
    V = logits.shape[-1]
    top_k = V if sampling.top_k is None else min(sampling.top_k, V)
    if top_k == V and sampling.top_p is None:
        return invert(logits.softmax(dim=-1), uniform)
    ranked, tokens = logits.topk(top_k, dim=-1)  # (B, K), falling
    weights = ranked.softmax(dim=-1)
    if sampling.top_p is not None:  # the fewest tokens whose probabilities reach top_p (Holtzman et al. 2020)
        before = weights.cumsum(dim=-1) - weights
        weights = weights.masked_fill(before >= sampling.top_p, 0.0)
    return tokens.gather(1, invert(weights, uniform)[:, None]).squeeze(1)


def invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """Column where the running sum of weights (B, K) ≥ 0 first exceeds uniform (B,) of its total.

    A column of weight 0 is never taken.
    """
    sums = weights.cumsum(dim=-1)
    target = uniform.clamp(max=1 - 2**-22)[:, None] * sums[:, -1:]  # stays below the total after rounding
    return torch.searchsorted(sums, target, right=True).squeeze(1)
