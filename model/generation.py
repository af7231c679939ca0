"""Sampling answers to many prompts at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import ModelConfig
from model.decoding import Decoder
from model.errors import InputError
from model.transformer import Transformer

COMPACT_BELOW = 0.75  # finished rows leave the batch when no more than this share of it still runs


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from logits: temperature (0 = the most probable), then top_k, then top_p."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature is {self.temperature}: use 0 for greedy or a finite number above it.")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}: use at least 1, or None to allow every token.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}: use a share above 0 up to 1, or None to allow every token.")


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_token_id: int,
    pad_token_id: int,
    seed: int,
    batch_size: int = 64,
) -> list[list[int]]:
    """Continue each prompt; the new tokens only, in the order of the prompts, `eos_token_id` included where reached.

    The draws of prompt i depend on (seed, i, max_new_tokens) alone: not on batch_size, nor on the other prompts. The
    logits do not either, but for the rounding of matrix products of other shapes. Computed in fp32.
    Raises `InputError` for settings out of bounds and for prompts that are empty or leave no room for the answer.
    """
    sampling = Sampling(temperature, top_k, top_p)
    _check(model.config, prompts, max_new_tokens, batch_size)
    uniforms = torch.rand(len(prompts), max_new_tokens, generator=torch.Generator().manual_seed(seed))
    decoder = Decoder(model)
    answers: list[list[int]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
    for start in range(0, len(prompts), batch_size):
        indices = by_length[start : start + batch_size]
        batch = [prompts[i] for i in indices]
        tokens = _decode_batch(decoder, batch, uniforms[indices], sampling, eos_token_id, pad_token_id)
        for i, row in zip(indices, tokens, strict=True):
            answers[i] = row
    return answers


def _check(config: ModelConfig, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int) -> None:
    if max_new_tokens < 1 or batch_size < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens} and batch_size {batch_size}: both must be at least 1.")
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {i} is empty: give at least one token, such as the id of <|endoftext|>.")
        if len(prompt) + max_new_tokens > config.max_position_embeddings:
            raise InputError(
                f"prompt {i} has {len(prompt)} tokens, and {max_new_tokens} more exceed "
                f"max_position_embeddings {config.max_position_embeddings}: shorten it or ask for fewer."
            )


def _decode_batch(
    decoder: Decoder,
    prompts: list[Sequence[int]],
    uniforms: Tensor,
    sampling: Sampling,
    eos_token_id: int,
    pad_token_id: int,
) -> list[list[int]]:
    """New tokens of each prompt. uniforms: (B, max_new_tokens) in [0, 1), a draw for each token."""
    device = decoder.embedding.device
    num_steps = uniforms.shape[1]
    uniforms = uniforms.to(device)
    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))  # read equal prompts once
    input_ids, padding = left_pad(distinct, pad_token_id)
    logits = decoder.start(input_ids.to(device), padding.to(device), num_steps)
    place = {prompt: row for row, prompt in enumerate(distinct)}
    source = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=device)
    if len(distinct) < len(prompts):
        decoder.take(source)
        logits = logits[source]
    written = torch.full((len(prompts), num_steps), pad_token_id, device=device)
    rows = torch.arange(len(prompts), device=device)  # which prompt each row of the batch continues
    running = torch.ones(len(prompts), dtype=torch.bool, device=device)
    for step in range(num_steps):
        tokens = choose(logits, uniforms[rows, step], sampling)
        written[rows[running], step] = tokens[running]
        running &= tokens != eos_token_id
        num_running = int(running.sum())
        if num_running == 0 or step == num_steps - 1:
            break
        if num_running <= COMPACT_BELOW * len(rows):
            kept = running.nonzero().squeeze(1)
            decoder.take(kept)
            rows, tokens, running = rows[kept], tokens[kept], running[kept]
        logits = decoder.step(tokens)
    return [_until(row, eos_token_id) for row in written.tolist()]


def _until(tokens: list[int], eos_token_id: int) -> list[int]:
    return tokens[: tokens.index(eos_token_id) + 1] if eos_token_id in tokens else tokens


def left_pad(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Prompts as one block (B, T) that ends where they end, and the padding before each, (B,)."""
    longest = max(len(prompt) for prompt in prompts)
    block = [[pad_token_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    return torch.tensor(block), torch.tensor([longest - len(prompt) for prompt in prompts])


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """A token for each row of logits (B, V), (B,), by inverting the distribution at uniform (B,) in [0, 1)."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
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
