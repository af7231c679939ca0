"""The opponent "nanoGPT-style": a GPT-2 shaped model with the usual plain training step, of the same size as ours.

LayerNorm, fused QKV, full multi-head attention through SDPA, learned positions, GELU, tied head, and the loss over the
logits of the whole batch. The feed-forward width is a parameter, so that both models can be given as many weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class GPT(nn.Module):
    """Embeddings, blocks, norm, tied head."""

    def __init__(self, *, vocabulary: int, context: int, width: int, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        """The mean next-token loss of (B, T) ids."""
        x = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def gpt_like(shape: dict[str, Any]) -> GPT:
    """A GPT with as many weights in its layers as a Llama of this shape has."""
    width, heads, groups = shape["hidden_size"], shape["num_attention_heads"], shape["num_key_value_heads"]
    theirs = 2 * width * (width + groups * width // heads) + 3 * width * shape["intermediate_size"]
    return GPT(
        vocabulary=shape["vocab_size"], context=shape["max_position_embeddings"], width=width,
        layers=shape["num_hidden_layers"], heads=heads, inner=(theirs - 4 * width * width) // (2 * width),
    )  # fmt: skip
