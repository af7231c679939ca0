"""Rotary position embedding (Su et al. 2021), in the half-split order that Llama checkpoints use, and its scaling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.rope_scaling import RopeScaling


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> Tensor:
    """Angles a position turns each pair by: theta^(-2i/head_dim), (head_dim/2,) float32, changed as `scaling` says."""
    frequencies = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    if scaling is None or scaling.rope_type == "dynamic":
        return frequencies
    assert scaling.factor is not None
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor
    kept = _kept_by_llama3 if scaling.rope_type == "llama3" else _kept_by_yarn
    share = kept(frequencies, theta, scaling)
    return (1 - share) * frequencies / scaling.factor + share * frequencies


def _kept_by_llama3(frequencies: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """How much of each frequency stays as it is, from 0 to 1: by how often it turns within the first context."""
    low, high, context = scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_max_position_embeddings
    assert low is not None and high is not None and context is not None
    turns = context / (2 * math.pi / frequencies)
    return ((turns - low) / (high - low)).clamp(0, 1)


def _kept_by_yarn(frequencies: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """The same, sloping between the dimensions that turn beta_fast and beta_slow times (Peng et al. 2023, 3.2)."""
    head_dim, context = 2 * len(frequencies), scaling.original_max_position_embeddings
    assert context is not None

    def dimension(turns: float) -> float:
        return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = dimension(scaling.beta_fast or 32), dimension(scaling.beta_slow or 1)
    if scaling.truncate is not False:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    width = last - first or 0.001
    return 1 - ((torch.arange(len(frequencies), dtype=torch.float32) - first) / width).clamp(0, 1)


def attention_factor(scaling: RopeScaling | None) -> float:
    """What cosines and sines are multiplied by, so q·k is by its square: 1 but for yarn (Peng et al. 2023, 3.4)."""
    if scaling is None or scaling.rope_type != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    assert scaling.factor is not None
    growth = 0.1 * math.log(max(scaling.factor, 1.0))
    if scaling.mscale and scaling.mscale_all_dim:
        return (scaling.mscale * growth + 1) / (scaling.mscale_all_dim * growth + 1)
    return growth + 1


def rotary_tables(
    num_positions: int, head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions 0…num_positions-1, each (num_positions, head_dim/2) float32."""
    frequencies = inverse_frequencies(head_dim, theta, scaling)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32), frequencies)
    # MKL chooses its code at a function's first call; while several threads make that call, one of them may be given
    # code with half of the digits (pytorch/pytorch#188792). So one thread calls first.
    angles[:1].cos(), angles[:1].sin()
    factor = attention_factor(scaling)
    return angles.cos() * factor, angles.sin() * factor


class _Rotated(torch.autograd.Function):
    """x turned by an angle; its derivative is the gradient turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradients[0], cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide = x.to(cos.dtype)
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos).addcmul_(torch.cat((second, first), dim=-1), sin).to(x.dtype)


def whole_width(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """(…, D/2) of the tables → (…, D) as `rotate` takes them."""
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, H, T, D) by cos and sin (B or 1, 1, T, D, see `whole_width`), pairing element i with i + D/2.

    Computed at the precision of the tables and returned at that of x: a bf16 angle at position 1,000 would be off
    by degrees.
    """
    turned: Tensor = _Rotated.apply(x, cos, sin)
    return turned
