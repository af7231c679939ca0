"""Root mean square normalisation (Zhang and Sennrich 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _Normalised(torch.autograd.Function):
    """y = x·r with r = 1 / sqrt(mean(x²) + eps) over the last axis; its derivative is dx = r · (dy − y · mean(dy · y)).

    Written out it takes 1.9 ms where the derivation of the plain formula takes 3.3 (forward and backward of 2,048 × 128
    in fp32 on one core; a step of the default model has eleven, a tenth of its time), and keeps one tensor of x's size
    instead of two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        factor = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        y = x * factor
        ctx.save_for_backward(y, factor)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        y, factor = ctx.saved_tensors
        mean = (gradients[0] * y).mean(-1, keepdim=True)
        return torch.addcmul(gradients[0], y, mean, value=-1).mul_(factor), None


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight over the last axis, in at least fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed: Tensor = _Normalised.apply(wide, self.eps)
        return self.weight * normed.to(x.dtype)
