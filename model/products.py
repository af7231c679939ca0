"""Matrix products of a training step: torch's, or where the processor has a matrix unit, the faster ones of
product_kernels.py for fp32, which are as exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.precision import fits_machine_code
from model.processor import has_kernels

# To split both factors pays from so many multiplications on, and where so many are made with a number that is split.
WORTH_SPLITTING, WORTH_EACH = 1 << 25, 160


def matrix_product(a: Tensor, b: Tensor, out: Tensor | None = None, adds: bool = False) -> Tensor:
    """a (M, K) · b (K, N), into `out` (M, N) if given; `adds`: added to what it holds. No gradient."""
    if _fits(a, b, out):
        from model.split_products import split_product  # numba need not be installed

        return split_product(a, b, a.new_empty(len(a), b.shape[1]) if out is None else out, adds)
    if out is None:
        return torch.mm(a, b)
    return out.addmm_(a, b) if adds else torch.mm(a, b, out=out)


def has_unit() -> bool:
    """Whether the processor has a matrix unit that may be used, and numba is there to compile for it."""
    if not has_kernels("fp32"):
        return False
    from model.tiles import AVAILABLE

    return AVAILABLE


def _fits(a: Tensor, b: Tensor, out: Tensor | None) -> bool:
    if a.dtype != torch.float32 or b.dtype != a.dtype or not fits_machine_code(a.dtype, a.device):
        return False
    M, K, N = *a.shape, b.shape[1]
    lie_together = all(1 in matrix.stride() for matrix in (a, b)) and (out is None or out.stride(1) == 1)
    return lie_together and max(WORTH_SPLITTING, WORTH_EACH * K * (M + N)) <= M * N * K and has_unit()
