"""Rotary position embedding (Su et al. 2021), in the half-split order that Llama checkpoints use."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_frequencies(head_dim: int, theta: float) -> Tensor:
    """Angles a position turns each pair by: theta^(-2i/head_dim), (head_dim/2,) float32."""
    return 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))


def rotary_tables(num_positions: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions 0…num_positions-1, each (num_positions, head_dim/2) float32."""
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32), inverse_frequencies(head_dim, theta))
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, H, T, D) by cos and sin (B or 1, 1, T, D/2), pairing element i with i + D/2.

    Computed at the precision of the tables and returned at that of x: a bf16 angle at position 1,000 would be off
    by degrees.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
