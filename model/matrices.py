"""The matrices of a decoder, laid out once for many products of few rows: in fp32, or in bf16.

oneDNN lays a large matrix out as its products read it; MKL would do so again in every product, at a cost that few rows
do not pay for. In fp32 on two threads, 1 to 16 rows through the matrices of layers of width 576 took 0.3 to 0.7 of the
time, of width 256 half to two thirds, 256 rows 0.8; on one thread 0.65 to 1. A small matrix is left as it is: there it
is calls that take time, and oneDNN's take longer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.precision import Precision
from model.processor import has_bf16_products

PACKED_FOR = 16  # rows that oneDNN lays the matrix out for; with 4 or 64, products took as long
LARGE = 1 << 16  # numbers in a matrix


def is_packable(weight: Tensor) -> bool:
    """Whether oneDNN multiplies on the device of this matrix."""
    return weight.device.type == "cpu" and torch.backends.mkldnn.is_available()


def packed(weight: Tensor) -> Tensor:
    """weight (out, in) in the layout of oneDNN, which only `packed_product` can read."""
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR)
    return laid_out


def packed_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (N, in), bias (out,), all in the format of the packed weight (out, in) → (N, out)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class Matrix:
    """weight (out, in) fp32: packed where it is large, else kept as (in, out) in memory, faster for few rows."""

    def __init__(self, weight: Tensor) -> None:
        self.packed = weight.numel() >= LARGE and is_packable(weight)
        self.weight = packed(weight) if self.packed else weight.t().clone(memory_format=torch.contiguous_format)

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (N, in) fp32, bias (out,) → (N, out) in the matrix's own format, or in fp32 where there is a bias."""
        if self.packed:
            return packed_product(x, self.weight, bias)
        return x @ self.weight if bias is None else torch.addmm(bias, x, self.weight)

    def add_product(self, target: Tensor, x: Tensor) -> None:
        """Adds the product of x (N, in), of any format, to target (N, out) fp32 in place."""
        if self.packed:
            target.add_(packed_product(x, self.weight))
        else:
            target.addmm_(x, self.weight)


class Bf16Matrix(Matrix):
    """The same in bf16: x is rounded too, sums are fp32 (in hardware), and each result is rounded once.

    Where the processor multiplies bf16, a row's result does not depend on how many rows there are (tested); in fp32 it
    does, in the last digits.
    """

    def __init__(self, weight: Tensor) -> None:
        self.packed = has_bf16_products() and is_packable(weight)
        self.weight = packed(weight.bfloat16()) if self.packed else weight.bfloat16()

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x.bfloat16()
        y = packed_product(x, self.weight) if self.packed else F.linear(x, self.weight)
        return y if bias is None else y + bias

    def add_product(self, target: Tensor, x: Tensor) -> None:
        target.add_(self.product(x))


MATRICES: dict[Precision, type[Matrix]] = {"fp32": Matrix, "bf16": Bf16Matrix}
