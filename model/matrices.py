"""The matrices of a decoder, laid out once for many products of few rows: in fp32, or in bf16.

16 rows through the matrices of a layer of width 256 take 297 µs in fp32 on one core with AVX512-bf16, 207 in bf16, and
164 in bf16 with the matrices packed by oneDNN beforehand. One row takes 57 µs in fp32 and 79 packed: there it is calls
that take time, not arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.precision import Precision
from model.processor import has_bf16_products

PACKED_FOR = 16  # rows that oneDNN lays the matrix out for; other numbers are computed too


class Matrix:
    """weight (out, in) fp32, kept as (in, out) in memory: faster for few rows."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.t().clone(memory_format=torch.contiguous_format)

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (N, in) fp32, bias (out,) → (N, out) in the matrix's own format, or in fp32 where there is a bias."""
        return x @ self.weight if bias is None else torch.addmm(bias, x, self.weight)

    def add_product(self, target: Tensor, x: Tensor) -> None:
        """Adds the product of x (N, in), of any format, to target (N, out) fp32 in place."""
        target.addmm_(x, self.weight)


class Bf16Matrix(Matrix):
    """The same in bf16: x is rounded too, sums are fp32 (in hardware), and each result is rounded once.

    Where the processor multiplies bf16, a row's result does not depend on how many rows there are (tested); in fp32 it
    does, in the last digits.
    """

    def __init__(self, weight: Tensor) -> None:
        self.packed = weight.device.type == "cpu" and has_bf16_products() and torch.backends.mkldnn.is_available()
        self.weight = weight.bfloat16()
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, PACKED_FOR)

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x.bfloat16()
        if self.packed:
            y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        else:
            y = F.linear(x, self.weight)
        return y if bias is None else y + bias

    def add_product(self, target: Tensor, x: Tensor) -> None:
        target.add_(self.product(x))


MATRICES: dict[Precision, type[Matrix]] = {"fp32": Matrix, "bf16": Bf16Matrix}
