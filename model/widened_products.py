"""Products of bf16 matrices as of fp32 ones, run on torch's threads; see widened_kernels.py."""

from __future__ import annotations

import torch
from torch import Tensor

from model.machine_code import layout, plan_of, run
from model.vector_tile import WIDE
from model.vectors import LANES
from model.widened_kernels import HIGHEST, LONGEST, PRODUCT, WIDEST, multiply_bf16

ZEROS = torch.zeros(WIDE)


def widened_product(a: Tensor, b: Tensor, out: Tensor, adds: bool = False) -> Tensor:
    """out (M, N) = a (M, K) · b (K, N), or with `adds` as much more; a and b bf16, out bf16 or fp32, sizes multiples of
    16. Numbers follow one another along the rows of `out`, and along the rows or the columns of a and b."""
    M, K, N, threads = *a.shape, b.shape[1], torch.get_num_threads()
    (a_stride, a_turned), (b_stride, b_turned) = layout(a), layout(b)
    rooms = {
        "left": torch.empty(threads, HIGHEST * LONGEST),
        "right": torch.empty(threads, WIDEST * LONGEST),
        "spare": torch.empty(threads, LANES * WIDE),
    }
    sums = out if out.dtype == torch.float32 else torch.empty(M, N) if K > LONGEST else None
    plan = plan_of(
        PRODUCT, M=M, N=N, K=K, a=a.data_ptr(), a_stride=a_stride, a_turned=a_turned, b=b.data_ptr(),
        b_stride=b_stride, b_turned=b_turned, c=0 if sums is out else out.data_ptr(), c_stride=out.stride(0), adds=adds,
        sums=0 if sums is None else sums.data_ptr(), sums_stride=0 if sums is None else sums.stride(0), zeros=ZEROS,
        **rooms,
    )  # fmt: skip
    run(multiply_bf16, plan, threads)
    return out
