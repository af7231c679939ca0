"""Matrix products of a training step: torch's, or where those are slow, faster ones that are as exact.

Those are product_kernels.py for fp32 where the processor has a matrix unit; and widened_kernels.py for bf16 where it
multiplies that no faster than fp32: Intel's vectors take one and a half times as long.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from model.precision import fits_machine_code
from model.processor import has_fast_bf16_products, has_kernels

# To split both factors pays from so many multiplications on, and where so many are made with a number that is split.
WORTH_SPLITTING, WORTH_EACH = 1 << 25, 160


def matrix_product(a: Tensor, b: Tensor, out: Tensor | None = None, adds: bool = False) -> Tensor:
    """a (M, K) · b (K, N), into `out` (M, N) if given; `adds`: added to what it holds. No gradient. `out` may be of a
    wider format than a and b; what comes out is then rounded to theirs or not, as is faster."""
    if product := _faster_product(a, b, out):
        return product(a, b, a.new_empty(len(a), b.shape[1]) if out is None else out, adds)
    if out is None:
        return torch.mm(a, b)
    if out.dtype != a.dtype:
        return out.add_(torch.mm(a, b)) if adds else out.copy_(torch.mm(a, b))
    return out.addmm_(a, b) if adds else torch.mm(a, b, out=out)


def has_unit() -> bool:
    """Whether the processor has a matrix unit that may be used, and numba is there to compile for it."""
    if not has_kernels("fp32"):
        return False
    from model.tiles import AVAILABLE

    return AVAILABLE


def _faster_product(a: Tensor, b: Tensor, out: Tensor | None) -> Callable[..., Tensor] | None:
    """What multiplies these sooner than torch; imported here, since numba need not be installed."""
    known = out is None or out.dtype in {a.dtype, torch.float32}
    if a.dtype != b.dtype or not known or not fits_machine_code(a.dtype, a.device):
        return None
    lie_together = all(1 in matrix.stride() for matrix in (a, b)) and (out is None or out.stride(1) == 1)
    (M, K), N = a.shape, b.shape[1]
    worth = max(WORTH_SPLITTING, WORTH_EACH * K * (M + N)) <= M * N * K
    if lie_together and a.dtype == torch.float32 and worth and has_unit():
        from model.split_products import split_product

        return split_product
    if lie_together and a.dtype == torch.bfloat16 and M % 16 == N % 16 == K % 16 == 0 and not has_fast_bf16_products():
        from model.widened_products import widened_product

        return widened_product
    return None
