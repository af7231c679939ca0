"""A layer with its derivative as few passes over memory: matrix products by torch, and machine code between them.

Each function here is differentiable. Products are in autocast's format, bf16 or fp32; the stream, sums, norms and
softmaxes in fp32. What comes out does not depend on the number of threads, if torch's products do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.attention_kernels import (
    ATTENTION,
    INSIDE,
    KEYS,
    QUERIES,
    attend_bf16,
    attend_fp32,
    attended_bf16,
    attended_fp32,
)
from model.machine_code import run_for
from model.pointers import halves
from model.precision import product_format
from model.products import matrix_product
from model.training_kernels import (
    GATE,
    NORM,
    ROWS,
    SOFTMAX,
    gate_bf16,
    gate_fp32,
    gated_bf16,
    gated_fp32,
    normalise_bf16,
    normalise_fp32,
    normalised_bf16,
    normalised_fp32,
    softmax_bf16,
    softmax_fp32,
)
from model.vectors import LANES

if TYPE_CHECKING:
    from model.norm import RMSNorm
    from model.transformer import Layer


ZEROS, TRIANGLE = torch.zeros(QUERIES), torch.full((KEYS, LANES), -torch.inf).tril(-1)  # see ATTENTION


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, added: Tensor | None, weight: Tensor, eps: float, format: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        x, weight = x.contiguous(), weight.float().contiguous()
        rows, width = x.numel() // x.shape[-1], x.shape[-1]
        total = x if added is None else torch.empty_like(x)
        y, factor = torch.empty_like(x, dtype=format), x.new_empty(rows)
        run_for(
            format, (normalise_fp32, normalise_bf16), NORM, rows=rows, width=width, x=x, added=added, weight=weight,
            sum=total, factor=factor, y=y, eps=eps,
        )  # fmt: skip
        ctx.save_for_backward(total, weight, factor)
        ctx.adds = added is not None
        return total, y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dsum: Tensor | None, dy: Tensor) -> tuple[Tensor | None, ...]:
        total, weight, factor = ctx.saved_tensors
        rows, width, dy = len(factor), total.shape[-1], dy.contiguous()
        dx, dweight = torch.empty_like(total), total.new_empty(-(-rows // ROWS), width)
        both = dy.dtype == dx.dtype  # then the gradients of x and of what was added to it are one
        dadded = torch.empty_like(dy) if ctx.adds and not both else None
        run_for(
            dy.dtype, (normalised_fp32, normalised_bf16), NORM, rows=rows, width=width, weight=weight, sum=total,
            factor=factor, dy=dy, dsum=None if dsum is None else dsum.contiguous(), dx=dx, dadded=dadded,
            dweight=dweight,
        )  # fmt: skip
        return dx, dx if ctx.adds and both else dadded, dweight.sum(0), None, None


class _Product(torch.autograd.Function):
    """x (…, in) through several weights (out, in) as one matrix → (…, sum of out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.rows, ctx.format = [len(weight) for weight in weights], weights[0].dtype
        matrix = _joined(weights, x.dtype)
        # Joining takes a hundredth of the product's time, and a copy of fp32 would be a copy of all weights.
        ctx.save_for_backward(x, *(weights if x.dtype == ctx.format else [matrix]))
        return _multiplied(x, matrix.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        dx = _multiplied(gradients[0], _joined(weights, x.dtype)) if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[1:]):
            return dx, *(None for _ in ctx.rows)
        dmatrix = torch.empty(sum(ctx.rows), x.shape[-1], dtype=ctx.format)
        matrix_product(gradients[0].flatten(0, -2).mT, x.flatten(0, -2), dmatrix)
        return dx, *dmatrix.split(ctx.rows)


def _multiplied(x: Tensor, matrix: Tensor) -> Tensor:
    """x (…, K) · matrix (K, N), and no view: FSDP warns of a layer that returns one."""
    y = x.new_empty(*x.shape[:-1], matrix.shape[1])
    matrix_product(x.flatten(0, -2), matrix, y.flatten(0, -2))
    return y


def _joined(weights: Sequence[Tensor], format: torch.dtype) -> Tensor:
    if len(weights) == 1:
        return weights[0].to(format)
    matrix = torch.empty(sum(len(weight) for weight in weights), weights[0].shape[1], dtype=format)
    for part, weight in zip(matrix.split([len(weight) for weight in weights]), weights, strict=True):
        part.copy_(weight)
    return matrix


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        width = gate_up.shape[-1] // 2
        rows, y = gate_up.numel() // (2 * width), gate_up.new_empty(*gate_up.shape[:-1], width)
        run_for(y.dtype, (gate_fp32, gate_bf16), GATE, rows=rows, width=width, gate_up=gate_up, y=y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        width = gradients[0].shape[-1]
        rows = gradients[0].numel() // width
        dgate_up = torch.empty_like(gate_up)
        run_for(
            gate_up.dtype, (gated_fp32, gated_bf16), GATE, rows=rows, width=width, gate_up=gate_up,
            dy=gradients[0].contiguous(), dgate_up=dgate_up,
        )  # fmt: skip
        return dgate_up


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos: Tensor, sin: Tensor, starts: Tensor | None, H: int, G: int) -> Tensor:
        B, T, _ = qkv.shape
        D = cos.shape[-1]
        P = -(-T // KEYS) * KEYS
        starts = None if starts is None else starts.expand(B, T).contiguous()
        y, peaks = qkv.new_empty(B, T, H * D), cos.new_empty(B, H, 2, P)
        ctx.sizes = {"B": B, "T": T, "H": H, "G": G, "D": D, "P": P, "scale": D**-0.5}
        ctx.sizes["rotations"] = 0 if len(cos) == 1 else T * D
        run_for(
            qkv.dtype, (attend_fp32, attend_bf16), ATTENTION, qkv=qkv, cos=cos, sin=sin, starts=starts, y=y,
            peaks=peaks, **_memory(qkv, LANES * (P + D), 4 * P * D + LANES * P), **ctx.sizes,
        )  # fmt: skip
        ctx.save_for_backward(qkv, cos, sin, starts, y, peaks)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        qkv, cos, sin, starts, y, peaks = ctx.saved_tensors
        P, D = ctx.sizes["P"], ctx.sizes["D"]
        dqkv = torch.empty_like(qkv)
        memory = _memory(qkv, 4 * P * D + 2 * KEYS * QUERIES + P, 8 * P * D + 3 * KEYS * QUERIES)
        run_for(
            qkv.dtype, (attended_fp32, attended_bf16), ATTENTION, qkv=qkv, cos=cos, sin=sin, starts=starts, y=y,
            peaks=peaks, dy=gradients[0].contiguous(), dqkv=dqkv, **memory, **ctx.sizes,
        )  # fmt: skip
        return dqkv, None, None, None, None, None


def _memory(like: Tensor, numbers: int, formatted: int) -> dict[str, Tensor | float | None]:
    """What the threads of an attention kernel work in."""
    threads, inside = torch.get_num_threads(), like.dtype if INSIDE is halves else torch.float32
    return {
        "numbers": torch.empty(threads, numbers), "num_numbers": numbers,
        "formatted": torch.empty(threads, formatted, dtype=inside), "num_formatted": formatted,
        "zeros": ZEROS, "triangle": TRIANGLE,
    }  # fmt: skip


def add_and_normalise(norm: RMSNorm, x: Tensor, added: Tensor | None) -> tuple[Tensor, Tensor]:
    """x + added (…, C), fp32, and that normalised, in the format of products."""
    total, y = _Normalised.apply(x, added, norm.weight, norm.eps, product_format(x))
    return total, y


def run_layer(
    layer: Layer, x: Tensor, added: Tensor | None, cos: Tensor, sin: Tensor, starts: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What `Layer.forward` does. x (B, T, C) fp32; cos and sin (B or 1, 1, T, D); starts (B, T): the first position
    that each sees, see `model.attention.first_seen`."""
    attention, mlp = layer.self_attn, layer.mlp
    x, unit = add_and_normalise(layer.input_layernorm, x, added)
    projections = attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight
    qkv = _Product.apply(unit, *projections)
    y = _Attended.apply(qkv, cos, sin, starts, attention.num_heads, attention.num_kv_heads)
    added = _Product.apply(y, attention.o_proj.weight)
    x, unit = add_and_normalise(layer.post_attention_layernorm, x, added)
    gated = _Gated.apply(_Product.apply(unit, mlp.gate_proj.weight, mlp.up_proj.weight))
    return x, _Product.apply(gated, mlp.down_proj.weight)


def softmax_losses(logits: Tensor, targets: Tensor, share: Tensor, z_loss: float) -> Tensor:
    """share · (-log softmax(logits)[target] + z_loss · log²Z), (N,) fp32, and in place of logits (N, V), fp32 or bf16,
    its gradient; V a multiple of 16. Raises IndexError for a target that is not one of V."""
    targets, share = targets.long().contiguous(), share.contiguous()
    if len(targets):  # machine code would write wherever they point to
        least, most = (int(end) for end in targets.aminmax())
        if least < 0 or most >= logits.shape[1]:
            raise IndexError(f"targets from {least} to {most}: they must be from 0 to {logits.shape[1] - 1}.")
    threads, losses = torch.get_num_threads(), torch.empty_like(share)
    run_for(
        logits.dtype, (softmax_fp32, softmax_bf16), SOFTMAX, rows=len(logits), width=logits.shape[1], logits=logits,
        targets=targets, share=share, losses=losses,
        scratch=torch.empty(threads, logits.shape[1]), z_loss=z_loss,
    )  # fmt: skip
    return losses
