"""Products of fp32 matrices on the processor's matrix unit, run on torch's threads; see product_kernels.py."""

from __future__ import annotations

import torch
from torch import Tensor

from model.machine_code import layout, plan_of, run
from model.product_kernels import EDGE, HIGHEST, LONGEST, PASS, PRODUCT, multiply_fp32
from model.tiles import NUMBERS, PARTS


def split_product(a: Tensor, b: Tensor, out: Tensor, adds: bool = False) -> Tensor:
    """out (M, N) = a (M, K) · b (K, N), or with `adds` as much more; fp32. Numbers follow one another along the rows of
    `out`, and along the rows or the columns of a and b."""
    M, K, N, threads, half = *a.shape, b.shape[1], torch.get_num_threads(), torch.bfloat16
    depth, columns = (-(-min(size, most) // EDGE) * EDGE for size, most in ((K, LONGEST), (N, PASS)))
    (a_stride, a_turned), (b_stride, b_turned) = layout(a), layout(b)
    rooms = {
        "left": torch.empty(threads, PARTS * HIGHEST * depth, dtype=half),
        "right": torch.empty(threads, PARTS * columns * depth, dtype=half),
        "edges": torch.empty(threads, EDGE * EDGE),
        "parts": torch.empty(threads, PARTS * NUMBERS, dtype=half),
    }
    plan = plan_of(
        PRODUCT, M=M, N=N, K=K, depth=depth, columns=columns, a=a.data_ptr(), a_stride=a_stride, a_turned=a_turned,
        b=b.data_ptr(), b_stride=b_stride, b_turned=b_turned, c=out.data_ptr(), c_stride=out.stride(0), adds=adds,
        **rooms,
    )  # fmt: skip
    run(multiply_fp32, plan, threads)
    return out
