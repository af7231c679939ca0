"""Rollouts: prompts and sampled responses as one padded batch, and what a model says of each response token.

Rows are padded on the right. Under causal attention a real token never sees what stands to its right, so no
attention mask is needed, and only the response positions go through the output head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from model.scalar import ScalarModel
from model.transformer import Transformer


@dataclass(frozen=True)
class Rollout:
    """B prompts with their responses; R is the longest response, T the longest row."""

    input_ids: Tensor  # (B, T) int64: prompt, response, padding
    attention_mask: Tensor  # (B, T) bool: True on prompt and response
    positions: Tensor  # (B, R) int64: where the state before the j-th response token stands in the row
    tokens: Tensor  # (B, R) int64: the response
    mask: Tensor  # (B, R) bool: True on response tokens
    finished: Tensor  # (B,) bool: the response ends with EOS

    def rows(self, index: Tensor) -> Self:
        """The rows `index` (b,), trimmed to the longest of them."""
        chosen = {field.name: getattr(self, field.name)[index] for field in fields(self)}
        width = int(chosen["attention_mask"].sum(dim=1).max())
        length = max(int(chosen["mask"].sum(dim=1).max()), 1)
        for name in ("input_ids", "attention_mask"):
            chosen[name] = chosen[name][:, :width]
        for name in ("positions", "tokens", "mask"):
            chosen[name] = chosen[name][:, :length]
        return type(self)(**chosen)


def collate(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    eos_token_id: int,
    pad_token_id: int,
    device: torch.device | str = "cpu",
) -> Rollout:
    """One `Rollout` of prompts and responses given as token ids; every prompt needs a token."""
    if len(prompts) != len(responses) or not prompts or any(not prompt for prompt in prompts):
        raise ValueError("a rollout needs at least one prompt, one response each, and no empty prompt")
    num_rows = len(prompts)
    width = max(len(p) + len(r) for p, r in zip(prompts, responses, strict=True))
    length = max(max(len(r) for r in responses), 1)
    input_ids = torch.full((num_rows, width), pad_token_id, dtype=torch.long)
    tokens = torch.full((num_rows, length), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros(num_rows, width, dtype=torch.bool)
    mask = torch.zeros(num_rows, length, dtype=torch.bool)
    positions = torch.zeros(num_rows, length, dtype=torch.long)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        both = len(prompt) + len(response)
        input_ids[row, :both] = torch.tensor([*prompt, *response])
        attention_mask[row, :both] = True
        if response:
            tokens[row, : len(response)] = torch.tensor(list(response))
            mask[row, : len(response)] = True
            positions[row, : len(response)] = torch.arange(len(prompt) - 1, both - 1)
    finished = torch.tensor([bool(r) and r[-1] == eos_token_id for r in responses])
    tensors = (input_ids, attention_mask, positions, tokens, mask, finished)
    return Rollout(*(tensor.to(device) for tensor in tensors))


def log_distribution(model: Transformer, rollout: Rollout, temperature: float = 1.0) -> Tensor:
    """Log-probabilities (N, V), fp32, of the N real response tokens in row order, at the sampling temperature.

    The one function by which log-probabilities are computed, at the rollout and in the update: were they to
    differ in precision or shape of computation, ratios would not start at 1 (Huang et al. 2024)."""
    hidden = model.hidden(rollout.input_ids)  # (B, T, D)
    rows = torch.nonzero(rollout.mask)[:, 0]  # (N,)
    logits = model.logits(hidden[rows, rollout.positions[rollout.mask]])  # (N, V)
    return torch.log_softmax(logits.float() / temperature, dim=-1)


def of_tokens(log_probabilities: Tensor, rollout: Rollout) -> Tensor:
    """Log-probability (N,) of each response token under `log_probabilities` (N, V)."""
    return log_probabilities.gather(1, rollout.tokens[rollout.mask].unsqueeze(1)).squeeze(1)


def on_response_axis(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) values of the real tokens, in row order, laid out as (B, R) with 0 on padding."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def state_values(model: ScalarModel, rollout: Rollout) -> Tensor:
    """Values (B, R), fp32, of the states in which the response tokens were chosen; 0 on padding."""
    scalars = model(rollout.input_ids, rollout.attention_mask)  # (B, T)
    return torch.where(rollout.mask, scalars.gather(1, rollout.positions).float(), 0.0)
