"""The decoder rearranged for generation: fused matrices, a preallocated key-value cache, few calls a step.

The rearrangements leave the function as it is (results differ from `Transformer` by rounding only):
- q, k and v are one matrix, gate and up another; 1/sqrt(head_dim) and all of a norm but the division by the length of
  its input are multiplied into the matrix that follows it (where queries and keys are normalised themselves,
  1/sqrt(head_dim) into the weight of that norm instead);
- rows of q and k are reordered so that the pairs that rotary positions turn are neighbours, and the rotation is one
  complex product in place. Both sides of every dot product q·k are reordered alike, so it keeps its value.

A step of few rows is mostly calls: of 6 layers they took 0.45 ms on one core, and 0.26 ms since there are 16 of them a
layer. So the order here is: few operations, in place where it can be, and views (cheap, but not free) taken once a step
for all layers. Attention of one new position is two batched products, which take less time than the fused kernel that
was made for many queries: at 16 rows 81–126 µs a layer against 93–156 µs.

Nothing here takes gradients. All computes in fp32, but for matrix products, cache and attention where bf16 is asked
for: the stream, norms and rotations stay fp32 there too. oneDNN prepares a bf16 product for each shape (0.5 ms) and
copies what is only a part of a tensor, so that cache is read whole, positions not yet written blocked, and grows by a
block when it is full; the fp32 one is allocated once, and its beginning is read.

This is what decodes a few tokens, on a GPU, and without numba; else compiled_decoding.py does (generation.py chooses).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import Attention, attention_limits, fused_attention
from model.matrices import MATRICES, Matrix
from model.norm import RMSNorm
from model.precision import Precision
from model.transformer import Layer, Transformer

BLOCK = 32  # positions that a bf16 cache grows by


@dataclass(frozen=True)
class FusedLayer:
    """Weights of a layer as `Decoder` uses them."""

    qkv: Matrix  # from C to (H + 2G)·D
    out: Matrix  # from H·D to C
    gate_up: Matrix  # from C to 2F
    down: Matrix  # from F to C
    qkv_bias: Tensor | None  # ((H + 2G)·D,)
    out_bias: Tensor | None  # (C,)
    qk_norm: Tensor | None  # (H + G, D)
    window: int | None  # how many positions of the cache are seen, the newest ones; None: all


def neighbour_pairs(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder the rows of each head from (i, i + D/2) apart to next to each other: (n·D, C) → (n·D, C)."""
    columns = weight.shape[1]
    return weight.view(-1, 2, head_dim // 2, columns).transpose(1, 2).reshape(-1, columns)


def unit_weight(norm: RMSNorm) -> Tensor:
    """What is left of a norm once its input has length 1, (C,): x / sqrt(mean(x²)) = sqrt(C) · x / |x|."""
    return norm.weight.float() * math.sqrt(norm.weight.shape[0])


def fused_bias(attention: Attention, scale: float) -> Tensor | None:
    """The biases of q, k and v as one vector in the order of their fused matrix, ((H + 2G)·D,), or None."""
    if attention.q_proj.bias is None:
        return None
    q = neighbour_pairs(attention.q_proj.bias.float()[:, None], attention.head_dim) * scale
    k = neighbour_pairs(attention.k_proj.bias.float()[:, None], attention.head_dim)
    return torch.cat((q[:, 0], k[:, 0], attention.v_proj.bias.float()))


def fused_qk_norm(attention: Attention) -> Tensor | None:
    """The weights of the norms of each head of q and k, (H + G, D), queries scaled by 1/sqrt(head_dim), or None."""
    if attention.q_norm is None or attention.k_norm is None:
        return None
    D = attention.head_dim
    q = neighbour_pairs(attention.q_norm.weight.float()[:, None], D)[:, 0] * D**-0.5
    k = neighbour_pairs(attention.k_norm.weight.float()[:, None], D)[:, 0]
    return torch.cat((q.expand(attention.num_heads, D), k.expand(attention.num_kv_heads, D)))


def fuse(layer: Layer, window: int | None, matrix: type[Matrix]) -> FusedLayer:
    """Gather a layer's weights; see the module's docstring."""
    attention, mlp = layer.self_attn, layer.mlp
    D = attention.head_dim
    scale = D**-0.5 if attention.q_norm is None else 1.0
    before_attention, before_mlp = unit_weight(layer.input_layernorm), unit_weight(layer.post_attention_layernorm)
    q = neighbour_pairs(attention.q_proj.weight.float(), D) * scale
    k = neighbour_pairs(attention.k_proj.weight.float(), D)
    return FusedLayer(
        qkv=matrix(torch.cat((q, k, attention.v_proj.weight.float())).mul_(before_attention)),
        out=matrix(attention.o_proj.weight.float()),
        gate_up=matrix(torch.cat((mlp.gate_proj.weight.float(), mlp.up_proj.weight.float())).mul_(before_mlp)),
        down=matrix(mlp.down_proj.weight.float()),
        qkv_bias=fused_bias(attention, scale),
        out_bias=None if attention.o_proj.bias is None else attention.o_proj.bias.float(),
        qk_norm=fused_qk_norm(attention),
        window=window,
    )


class Decoder:
    """A copy of a model's weights that reads prompts and then one token a step for each row of a batch.

    Made for one call of `generate`: it does not follow later changes of the model. After `start`, row b of every tensor
    belongs to row b of the batch, until `take` rearranges the rows.
    """

    matrices: ClassVar[dict[Precision, type[Matrix]]] = MATRICES

    def __init__(self, model: Transformer, precision: Precision = "fp32") -> None:
        """precision: of matrix products, cache and attention."""
        config = model.config
        self.H, self.G, self.D = config.num_attention_heads, config.kv_heads, config.head_size
        self.eps = config.rms_norm_eps
        self.grows, self.cached = precision == "bf16", torch.bfloat16 if precision == "bf16" else torch.float32
        matrix = self.matrices[precision]
        self.layers = [
            fuse(cast(Layer, layer), window, matrix)
            for layer, window in zip(model.model.layers, config.windows, strict=True)
        ]
        self.embedding = model.model.embed_tokens.weight.float()
        smallest = math.sqrt(config.hidden_size * config.rms_norm_eps)
        self.smallest = torch.tensor(smallest, device=self.embedding.device)  # see `_unit`
        self.head = matrix(model.output_weight.float() * unit_weight(model.model.norm))  # from C to V
        self.rotations = torch.complex(model.model.cos.float(), model.model.sin.float())  # (P, D/2)
        self.cache = torch.empty(0)  # (L, 2, B, G, S, D): keys and values
        self.padding = torch.empty(0)  # (B,) tokens of padding left of each row
        self.blocked: Tensor | None = None  # (B, G, 1, S) added to scores: -inf over what is not seen; None: all is
        self.length = 0  # positions of the cache in use

    def start(self, input_ids: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """Read left-padded prompts (B, T) with `padding` (B,) tokens to skip in each row → logits (B, V)."""
        B, T = input_ids.shape
        device = input_ids.device
        self.padding, self.length = padding, T
        self._allocate(B, T, max_new_tokens)
        index = torch.arange(T, device=device)
        seen = index[None, :] >= padding[:, None] if bool((padding > 0).any()) else None  # (B, T)
        every_limits = {
            window: attention_limits(T, device, seen, None, window)
            for window in {layer.window for layer in self.layers}
        }
        positions = (index[None, :] - padding[:, None]).clamp(min=0)
        rotations = self.rotations[positions].view(B * T, 1, -1)  # (B·T, 1, D/2)
        x = self.embedding[input_ids]  # (B, T, C)
        for number, layer in enumerate(self.layers):
            qkv = self._project(x.view(B * T, -1), layer, rotations).view(B, T, -1, self.D).transpose(1, 2)
            limits = every_limits[layer.window]
            q, k, v = qkv.split((self.H, self.G, self.G), dim=1)  # (B, H or G, T, D)
            self._keep(number, k, v)
            y = fused_attention(q, k, v, limits, scale=1.0)  # (B, H, T, D)
            if number == len(self.layers) - 1:  # only the last position goes on
                x, y, T = x[:, -1:].contiguous(), y[:, :, -1:], 1
            self._finish(x.view(B * T, -1), y.transpose(1, 2).reshape(B * T, -1), layer)
        return self._logits(x[:, -1])

    def _allocate(self, B: int, T: int, max_new_tokens: int) -> None:
        """Makes room for a batch whose prompts have T tokens."""
        device = self.padding.device
        capacity = -(-(T + 1) // BLOCK) * BLOCK if self.grows else T + max_new_tokens
        size = (len(self.layers), 2, B, self.G, capacity, self.D)
        self.cache, self.blocked = torch.zeros(size, dtype=self.cached, device=device), None
        index = torch.arange(capacity, device=device)
        unseen = index[None, :] < self.padding[:, None]  # (B, S)
        if self.grows:
            unseen |= index >= T
        if self.grows or bool(unseen.any()):
            blocked = torch.zeros(unseen.shape, dtype=self.cached, device=device).masked_fill_(unseen, -torch.inf)
            self.blocked = blocked[:, None, None].repeat(1, self.G, 1, 1)

    def _keep(self, number: int, k: Tensor, v: Tensor) -> None:
        """Puts a layer's keys and values of the prompts, (B, G, T, D), into the cache."""
        self.cache[number, 0, :, :, : self.length] = k
        self.cache[number, 1, :, :, : self.length] = v

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token a row, (B,) → logits (B, V) of the next."""
        B, G, D, end = tokens.shape[0], self.G, self.D, self.length + 1
        if end > self.cache.shape[4]:
            self._grow()
        new = self.cache[:, :, :, :, self.length].unbind(0)  # (2, B, G, D) of each layer
        read = self.cache.shape[4] if self.grows else end
        used = self.cache.view(len(self.layers), 2, B * G, -1, D)[:, :, :, :read]
        keys, values = used[:, 0].mT.unbind(0), used[:, 1].unbind(0)  # (B·G, D, read) and (B·G, read, D) of each layer
        blocked = None
        if self.blocked is not None:
            self.blocked[..., self.length] = 0
            blocked = self.blocked.view(B * G, 1, -1)[..., :read]
        rotations = self.rotations[self.length - self.padding][:, None]  # (B, 1, D/2)
        x = self.embedding[tokens]  # (B, C)
        for layer, new_kv, key, value in zip(self.layers, new, keys, values, strict=True):
            qkv = self._project(x, layer, rotations)  # (B, H + 2G, D)
            new_kv.copy_(qkv[:, self.H :].view(B, 2, G, D).transpose(0, 1))
            q = qkv[:, : self.H].to(self.cached)
            q = q.reshape(B * G, -1, D)  # heads of a group stand in the query's place: (B·G, H/G, D)
            hidden = blocked
            if layer.window is not None and layer.window < end:  # of `end` positions the newest are seen
                newest = slice(end - layer.window, end)
                key, value = key[..., newest], value[:, newest]
                hidden = None if blocked is None else blocked[..., newest]
            scores = torch.bmm(q, key)  # (B·G, H/G, seen)
            if hidden is not None:
                scores.add_(hidden)
            y = torch.bmm(scores.softmax(dim=-1), value)  # (B·G, H/G, D)
            self._finish(x, y.view(B, -1), layer)
        self.length = end
        return self._logits(x)

    def take(self, rows: Tensor) -> None:
        """Make row b of the batch what row rows[b] was; rows may be dropped or repeated."""
        self.cache = self.cache.index_select(2, rows)
        self.padding = self.padding[rows]
        if self.blocked is not None:
            self.blocked = self.blocked[rows]

    def _grow(self) -> None:
        assert self.blocked is not None
        size = (*self.cache.shape[:4], BLOCK, self.D)
        self.cache = torch.cat((self.cache, self.cache.new_zeros(size)), dim=4)
        unseen = self.blocked.new_full((*self.blocked.shape[:3], BLOCK), -torch.inf)
        self.blocked = torch.cat((self.blocked, unseen), dim=3)

    def _unit(self, x: Tensor) -> Tensor:
        """x (N, C) with rows of length 1, or below by the norm's eps: √(mean(x²) + eps)·√C = hypot(|x|, √(C·eps))."""
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.smallest)

    def _project(self, x: Tensor, layer: FusedLayer, rotations: Tensor) -> Tensor:
        """x (N, C), rotations (N, 1, D/2) → rotated queries and keys, and values: (N, H + 2G, D)."""
        qkv = layer.qkv.product(self._unit(x), layer.qkv_bias).float().view(x.shape[0], -1, self.D)
        if layer.qk_norm is not None:
            heads = qkv[:, : self.H + self.G]
            heads.copy_(F.rms_norm(heads, (self.D,), eps=self.eps) * layer.qk_norm)
        pairs = qkv[:, : self.H + self.G].unflatten(-1, (-1, 2))  # (N, H + G, D/2, 2)
        torch.view_as_complex(pairs).mul_(rotations)
        return qkv

    def _finish(self, x: Tensor, attended: Tensor, layer: FusedLayer) -> None:
        """Adds to x (N, C), in place, what attended heads (N, H·D) and then the feed-forward give."""
        layer.out.add_product(x, attended)
        if layer.out_bias is not None:
            x.add_(layer.out_bias)
        gate, up = layer.gate_up.product(self._unit(x)).chunk(2, dim=-1)  # (N, F) each
        layer.down.add_product(x, F.silu(gate, inplace=True).mul_(up))

    def _logits(self, x: Tensor) -> Tensor:
        return self.head.product(self._unit(x)).float()
