"""Grouped-query causal attention (Vaswani et al. 2017; Ainslie et al. 2023) and the masks that limit it.

Two ways to the same numbers:
- `sdpa`: PyTorch's fused `scaled_dot_product_attention`. Best in fp32, on a GPU, and at long contexts.
- `matmul`: product, mask, softmax and product written out. Best for bf16 on a CPU, where the fused backward is slow:
  41 to 50 ms for the layer below; 30 in fp32, where written out in blocks it is no faster.
- `auto` takes `matmul` where the queries are bf16 on a CPU (under autocast they are), and `sdpa` otherwise.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import skip_init

from model.config import ModelConfig
from model.norm import RMSNorm
from model.precision import fits_machine_code, product_format
from model.rotary import rotate

AttentionMethod = Literal["auto", "sdpa", "matmul", "kernels"]
QUERY_BLOCK = 64  # positions; 32 took as long for 256 tokens and a third longer for 1,024, 128 a third longer for 256


def causal_mask(num_tokens: int, device: torch.device) -> Tensor:
    """(T, T) bool, True where query row may look at key column."""
    index = torch.arange(num_tokens, device=device)
    return index[:, None] >= index[None, :]


def attention_limits(
    num_tokens: int,
    device: torch.device,
    attention_mask: Tensor | None,
    segment_ids: Tensor | None,
    window: int | None = None,
) -> Tensor | None:
    """Who may look at whom: (B, 1, T, T) bool, or None where plain causality is all.

    attention_mask (B, T), True for real tokens; segment_ids (B, T), equal within a document; window: how many tokens
    a position sees back, itself among them (Beltagy et al. 2020). A position always sees itself, so that a row of
    padding has something to normalise over; its result means nothing.
    """
    if window is not None and window >= num_tokens:
        window = None
    if attention_mask is None and segment_ids is None and window is None:
        return None
    allowed = causal_mask(num_tokens, device)[None]  # (1, T, T)
    if window is not None:
        allowed = allowed.triu(1 - window)
    if attention_mask is not None:
        allowed = allowed & attention_mask.bool()[:, None, :]  # (B, T, T)
    if segment_ids is not None:
        allowed = allowed & (segment_ids[:, :, None] == segment_ids[:, None, :])
    return (allowed | torch.eye(num_tokens, dtype=torch.bool, device=device))[:, None]


def first_seen(
    num_tokens: int,
    device: torch.device,
    attention_mask: Tensor | None,
    segment_ids: Tensor | None,
    window: int | None = None,
) -> Tensor | None:
    """The same as the first position that each looks at, (B, T), no smaller than of the position before; None where
    all look at the first. What stands to the right of all real tokens sees them, and means nothing."""
    if window is not None and window >= num_tokens:
        window = None
    given = segment_ids if attention_mask is None else attention_mask
    if given is None and window is None:
        return None
    index = torch.arange(num_tokens, device=device)
    starts = torch.zeros(1 if given is None else len(given), num_tokens, dtype=torch.long, device=device)
    if segment_ids is not None:
        begins = segment_ids[:, 1:] != segment_ids[:, :-1]
        starts[:, 1:] = torch.where(begins, index[1:], 0).cummax(dim=1).values
    if attention_mask is not None:
        starts = starts.maximum(attention_mask.long().argmax(dim=1, keepdim=True))
    if window is not None:
        starts = starts.maximum(index + 1 - window)
    return starts.minimum(index)


def fits_kernels(config: ModelConfig, x: Tensor) -> bool:
    """Whether model/fused.py can run the layers: it was made for this processor, these sizes and formats, and numba is
    installed. x: the stream."""
    return (
        x.dtype == torch.float32
        and fits_machine_code(product_format(x), x.device)
        and config.head_size % 32 == config.hidden_size % 16 == config.intermediate_size % 16 == 0
        and not (config.qkv_bias or config.output_bias or config.qk_norm)
    )


class _BlockedAttention(torch.autograd.Function):
    """Attention and its derivative, a block of queries at a time; see `grouped_matmul_attention`."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, limits: Tensor | None) -> Tensor:
        B, H, T, D = q.shape
        G = k.shape[1]
        k, v = k.reshape(B * G, T, D), v.reshape(B * G, T, D)
        later = ~causal_mask(QUERY_BLOCK, q.device)
        blocks, weights, results = [], [], []
        for block, end in _blocks(q * D**-0.5, G):
            size = block.shape[1] * G // H  # positions
            scores = torch.bmm(block, k[:, :end].mT)  # (B·G, H/G·size, end)
            by_head = scores.view(B, H, size, end)
            if limits is None:  # all of a block sees the keys before it
                by_head[..., end - size :].masked_fill_(later[:size, :size], -torch.inf)
            else:
                by_head.masked_fill_(~limits[:, :, end - size : end, :end], -torch.inf)
            odds = torch.ops.aten._softmax(scores, -1, False)  # fp32 within, rounded once
            results.append(torch.bmm(odds, v[:, :end]).view(B, H, size, D))
            blocks.append(block)
            weights.append(odds)
        ctx.save_for_backward(k, v, *blocks, *weights)
        return torch.cat(results, dim=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        k, v, *kept = ctx.saved_tensors
        blocks, weights = kept[: len(kept) // 2], kept[len(kept) // 2 :]
        B, H, T, D = gradients[0].shape
        G = len(k) // B
        exact = torch.promote_types(k.dtype, torch.float32)  # of sums over blocks
        dq, dk, dv = [], torch.zeros_like(k, dtype=exact), torch.zeros_like(v, dtype=exact)
        for (dy, end), block, odds in zip(_blocks(gradients[0], G), blocks, weights, strict=True):
            dv[:, :end] += torch.bmm(odds.mT, dy)
            dodds = torch.bmm(dy, v[:, :end].mT)
            dscores = torch.ops.aten._softmax_backward_data(dodds, odds, -1, odds.dtype)
            dk[:, :end] += torch.bmm(dscores.mT, block)
            dq.append(torch.bmm(dscores, k[:, :end]).view(B, H, -1, D))
        dk, dv = (gradient.to(k.dtype).view(B, G, T, D) for gradient in (dk, dv))
        return torch.cat(dq, dim=2).mul_(D**-0.5), dk, dv, None


def _blocks(x: Tensor, groups: int) -> list[tuple[Tensor, int]]:
    """x (B, H, T, D) cut along T: the blocks, (B·G, H/G·size, D), each with the position after its last."""
    B, _, T, D = x.shape
    ends = [*range(QUERY_BLOCK, T, QUERY_BLOCK), T]
    return [(part.reshape(B * groups, -1, D), end) for part, end in zip(x.split(QUERY_BLOCK, dim=2), ends, strict=True)]


@torch.compiler.disable  # the compiler's own version of it, with copies of whole tensors, made a step 5% longer
def grouped_matmul_attention(q: Tensor, k: Tensor, v: Tensor, limits: Tensor | None) -> Tensor:
    """Attention written out. q (B, H, T, D), k and v (B, G, T, D) with H a multiple of G → (B, H, T, D).

    Queries are taken `QUERY_BLOCK` positions at a time, each block against the keys up to its own end: what lies
    further on is never computed, and a block's scores stay in the cache. Queries that share a key head are stacked
    along T, so keys are never repeated in memory. 8 rows of 256 tokens with 8 heads in bf16, forward and backward, take
    16 ms on one core; 35 where PyTorch derives the gradients.
    """
    y: Tensor = _BlockedAttention.apply(q, k, v, limits)
    return y


def attend(q: Tensor, k: Tensor, v: Tensor, limits: Tensor | None, method: AttentionMethod) -> Tensor:
    """q (B, H, T, D), k and v (B, G, T, D), limits (B, 1, T, T) bool or None for plain causality → (B, H, T, D)."""
    if method == "auto":
        method = "matmul" if q.dtype == torch.bfloat16 and q.device.type == "cpu" else "sdpa"
    if method == "matmul":
        return grouped_matmul_attention(q, k, v, limits)
    return fused_attention(q, k, v, limits)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, limits: Tensor | None, scale: float | None = None) -> Tensor:
    """PyTorch's attention; arguments as of `attend`.

    On a GPU its kernels take limits, or fp32, only where there are as many keys as queries: else it would hold scores
    of all positions for every head, so keys are repeated.
    """
    grouped = q.shape[1] != k.shape[1]
    if grouped and q.device.type == "cuda" and (limits is not None or q.dtype == torch.float32):
        times = q.shape[1] // k.shape[1]
        k, v = (x[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2) for x in (k, v))
        grouped = False
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=limits, is_causal=limits is None, scale=scale, enable_gqa=grouped
    )


class Attention(nn.Module):
    """Projections around `attend`; parameter names are those of Llama and its kin."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_attention_heads, config.kv_heads, config.head_size
        q_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.q_proj = skip_init(nn.Linear, config.hidden_size, q_size, bias=config.qkv_bias)
        self.k_proj = skip_init(nn.Linear, config.hidden_size, kv_size, bias=config.qkv_bias)
        self.v_proj = skip_init(nn.Linear, config.hidden_size, kv_size, bias=config.qkv_bias)
        self.o_proj = skip_init(nn.Linear, q_size, config.hidden_size, bias=config.output_bias)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, limits: Tensor | None, method: AttentionMethod) -> Tensor:
        """x (B, T, C), cos and sin (B or 1, 1, T, D), limits (B, 1, T, T) or None → (B, T, C)."""
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, self.num_heads, self.head_dim).transpose(1, 2)  # (B, H, T, D)
        k = self.k_proj(x).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)  # (B, G, T, D)
        v = self.v_proj(x).view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)  # (B, G, T, D)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)  # autocast leaves norms in fp32
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, limits, method)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, self.num_heads * self.head_dim))
