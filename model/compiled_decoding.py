"""The decoder whose steps are machine code: one call a step, in which all threads of torch work together."""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from model import compiled_kernels as kernels
from model.compiled_kernels import LAYER, STEP
from model.compiled_products import PRODUCT
from model.decoding import Decoder
from model.machine_code import address, run, run_for
from model.matrices import Matrix
from model.precision import Precision
from model.transformer import Transformer
from model.vectors import LANES


def panels(matrix: Tensor) -> Tensor:
    """A view of matrices (…, N, K), N a multiple of 16, as compiled_products.py reads them once that is contiguous."""
    blocks = matrix.unflatten(-2, (-1, LANES)).mT  # (…, N/16, K, 16)
    return blocks.unflatten(-2, (-1, 2)).mT if matrix.dtype == torch.bfloat16 else blocks


def laid_out(weight: Tensor) -> Tensor:
    """`panels` of a matrix (N, K); a pair of bf16 is moved as one number, in half of the time."""
    if weight.dtype != torch.bfloat16:
        return panels(weight).contiguous()
    pairs = panels(weight.view(torch.int32)).contiguous()  # (N/16, K/2, 16)
    return pairs.view(torch.bfloat16).unflatten(-1, (LANES, 2))


def whole(rows: int) -> int:
    """So many rows and those up to a multiple of 16, which products may read and write; see `multiply_panels`."""
    return -(-rows // LANES) * LANES


class PanelMatrix(Matrix):
    """A matrix as the compiled step reads it. A row's product does not depend on how many rows there are."""

    format = torch.float32

    def __init__(self, weight: Tensor) -> None:
        self.out_features = weight.shape[0]
        weight = pad(weight, (0, 0, 0, -len(weight) % LANES)).to(self.format)
        self.width, self.depth = weight.shape
        self.weight = laid_out(weight)
        self.zeros = torch.zeros(self.width)

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (N, in), of any format, bias (out,) → (N, out) fp32."""
        y = torch.empty(whole(len(x)), self.width)
        self._run(x, self.zeros if bias is None else bias, 0, y)
        return y[: len(x), : self.out_features]

    def add_product(self, target: Tensor, x: Tensor) -> None:
        if len(x) == whole(len(x)):
            self._run(x, target, self.width, target)
        else:
            target.add_(self.product(x))

    def _run(self, x: Tensor, initial: Tensor, stride: int, y: Tensor) -> None:
        given = x
        if x.dtype != self.format or len(x) < len(y) or not x.is_contiguous():
            given = x.new_empty(len(y), self.depth, dtype=self.format)
            given[: len(x)] = x
        run_for(
            self.format, (kernels.product_fp32, kernels.product_bf16), PRODUCT, rows=len(x), depth=self.depth,
            width=self.width, stride=stride, x=given, panels=self.weight, initial=initial, y=y,
        )  # fmt: skip


class Bf16PanelMatrix(PanelMatrix):
    """The same in bf16: x is rounded too, sums and results are fp32."""

    format = torch.bfloat16


class CompiledDecoder(Decoder):
    """A `Decoder` whose step is machine code, for the processors and sizes that generation.py names."""

    matrices: ClassVar[dict[Precision, type[Matrix]]] = {"fp32": PanelMatrix, "bf16": Bf16PanelMatrix}

    def __init__(self, model: Transformer, precision: Precision = "fp32") -> None:
        super().__init__(model, precision)
        self.function = kernels.step_fp32 if precision == "fp32" else kernels.step_bf16
        self.embedding = self.embedding.contiguous()
        cos, sin = self.rotations.real, self.rotations.imag
        self.cos = cos.repeat_interleave(2, dim=1)  # (P, D)
        self.sin = torch.stack((-sin, sin), dim=2).flatten(1)  # (P, D)
        config, head = model.config, cast(PanelMatrix, self.head)
        sizes = {
            "C": config.hidden_size, "F": config.intermediate_size, "H": self.H, "G": self.G, "D": self.D,
            "V": head.width, "num_layers": len(self.layers),
        }  # fmt: skip
        self.zeros = torch.zeros(max(head.width, 2 * config.intermediate_size, (self.H + 2 * self.G) * self.D))
        self.layer_plans = np.zeros(len(self.layers), LAYER)
        for record, layer in zip(self.layer_plans, self.layers, strict=True):
            for name in ("qkv", "out", "gate_up", "down"):
                record[name] = address(getattr(layer, name).weight)
            for name in ("qkv_bias", "out_bias", "qk_norm"):
                record[name] = address(getattr(layer, name))
            record["window"] = layer.window or 0
        self.plan = plan = np.zeros(1, STEP)
        for name, size in sizes.items():
            plan[name] = size
        for name in ("embedding", "cos", "sin", "zeros"):
            plan[name] = address(getattr(self, name))
        plan["head"], plan["eps"], plan["layers"] = address(head.weight), self.eps, self.layer_plans.ctypes.data

    def step(self, tokens: Tensor) -> Tensor:
        plan, tokens = self.plan, tokens.contiguous()
        logits = torch.empty(whole(len(tokens)), int(plan["V"][0]))
        assert self.length < plan["S"], "there is no room for more tokens than `start` was told of"
        plan["length"], plan["tokens"], plan["logits"] = self.length, address(tokens), address(logits)
        run(self.function, plan, len(self.memory["scratch"]))
        self.length += 1
        return logits[: len(tokens), : len(self.embedding)]

    def take(self, rows: Tensor) -> None:
        super().take(rows)
        self._bind()

    def _allocate(self, B: int, T: int, max_new_tokens: int) -> None:
        capacity = -(-(T + max_new_tokens) // LANES) * LANES
        self.cache = torch.empty(len(self.layers), 2, B, self.G, capacity * self.D, dtype=self.cached)
        self.cache[:, 1] = 0  # values not yet written are multiplied by odds of 0
        self._bind()

    def _keep(self, number: int, k: Tensor, v: Tensor) -> None:
        B, G, T, D = k.shape
        whole = (0, 0, 0, -T % LANES)
        k, v = pad(k, whole).to(self.cached), pad(v, whole).to(self.cached)
        keys, values = panels(k), panels(v.mT)  # (B, G, T/16, D, 16) and (B, G, D/16, T, 16), or with pairs
        cached = self.cache[number]
        cached[0, :, :, : k.shape[2] * D].view(keys.shape).copy_(keys)
        room = cached[1].view(B, G, D // LANES, -1, *values.shape[4:])
        room[:, :, :, : values.shape[3]] = values

    def _bind(self) -> None:
        """Tells the plan where the cache of this batch is, and gives it memory to work in."""
        B, plan = self.cache.shape[2], self.plan
        capacity = self.cache.shape[4] // self.D
        plan["B"], plan["S"], plan["padding"] = B, capacity, address(self.padding)
        C, H, G, D, F = (int(plan[name][0]) for name in "CHGDF")
        threads = torch.get_num_threads()
        rows = whole(B)
        formats = {"unit": threads * C, "attended": H * D, "gated": F}
        numbers = {"x": C, "qkv": (H + 2 * G) * D, "gate_up": 2 * F}
        self.memory = {name: torch.empty(rows, size, dtype=self.cached) for name, size in formats.items()}
        self.memory |= {name: torch.empty(rows, size) for name, size in numbers.items()}
        self.memory["scratch"] = torch.empty(threads, 2 * H // G * (capacity + D))
        for name, tensor in self.memory.items():
            plan[name] = address(tensor)
        for number, layer in enumerate(self.layer_plans):
            layer["keys"], layer["values"] = (address(half) for half in self.cache[number])
