"""The causal language model: state names and logits are those of Hugging Face's `LlamaForCausalLM` and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import skip_init

from model.attention import Attention, AttentionMethod, attention_limits, first_seen, fits_kernels
from model.config import ModelConfig
from model.errors import InputError
from model.norm import RMSNorm
from model.rotary import rotary_tables, whole_width


class _Gated(torch.autograd.Function):
    """silu(gate) · up. silu(gate) is computed again in the backward pass, not kept: a tenth less memory for a step, at
    less than a hundredth of its time; the gradients are the same to the bit."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradients[0] * up, gate), F.silu(gate).mul_(gradients[0])


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = skip_init(nn.Linear, config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = skip_init(nn.Linear, config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = skip_init(nn.Linear, config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = _Gated.apply(self.gate_proj(x), self.up_proj(x))
        return self.down_proj(gated)


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normalised input and added to the stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, added: Tensor | None, cos: Tensor, sin: Tensor, limits: Tensor | None, method: AttentionMethod
    ) -> tuple[Tensor, Tensor | None]:
        """The stream (B, T, C) and what is still to be added to it, from those of the layer before. Only kernels leave
        something to be added: to the next norm, in the same pass."""
        if method == "kernels":
            from model import fused  # numba need not be installed

            return fused.run_layer(self, x, added, cos, sin, limits)
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, limits, method)
        return x + self.mlp(self.post_attention_layernorm(x)), None


RunLayer = Callable[..., tuple[Tensor, Tensor | None]]  # takes the layer, then what `Layer.forward` does


def run_layer(layer: nn.Module, *arguments: Any) -> tuple[Tensor, Tensor | None]:
    """The plain way; for others see `model.acceleration`."""
    x, added = layer(*arguments)
    return x, added


class Backbone(nn.Module):
    """Embedding, layers and final norm: everything but the head. Shared by `Transformer` and `ScalarModel`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, attention: AttentionMethod = "auto") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.run_layer: RunLayer = run_layer  # while gradients are wanted; set by `model.acceleration`
        self.may_fuse = True  # unless torch compiles the layers
        self.embed_tokens = skip_init(nn.Embedding, config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        cos, sin = rotary_tables(
            config.max_position_embeddings, config.head_size, config.rope_theta, config.rope_scaling
        )
        self.register_buffer("cos", cos, persistent=False)  # (P, D/2)
        self.register_buffer("sin", sin, persistent=False)

    def forward(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Final-normed hidden states (B, T, C); arguments as in `Transformer.hidden`."""
        check_shapes(self.config, input_ids, position_ids, attention_mask, segment_ids)
        T = input_ids.shape[1]
        if position_ids is None:
            position_ids = default_positions(attention_mask, segment_ids)
        if position_ids is None:
            cos, sin = whole_width(self.cos[None, None, :T], self.sin[None, None, :T])  # (1, 1, T, D)
        else:
            cos, sin = whole_width(self.cos[position_ids][:, None], self.sin[position_ids][:, None])  # (B, 1, T, D)
        x, added = self.embed_tokens(input_ids), None  # x: (B, T, C)
        method = self.attention
        if method == "auto" and self.may_fuse and fits_kernels(self.config, x):
            method = "kernels"
        limit = first_seen if method == "kernels" else attention_limits
        limits = {
            window: limit(T, input_ids.device, attention_mask, segment_ids, window)
            for window in dict.fromkeys(self.config.windows)
        }
        run = self.run_layer if torch.is_grad_enabled() else run_layer
        for layer, window in zip(self.layers, self.config.windows, strict=True):
            x, added = run(layer, x, added, cos, sin, limits[window], method)
        if method == "kernels":
            from model import fused

            return fused.add_and_normalise(self.norm, x, added)[1]
        return self.norm(x)

    def initialise(self, generator: torch.Generator) -> None:
        """Matrices from N(0, initializer_range²), those that write into the stream smaller by sqrt(2·layers).

        The scaling keeps the variance of the stream independent of depth (GPT-2, Radford et al. 2019, section 2.3).
        """
        std = self.config.initializer_range
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
                continue
            into_stream = name.endswith(("o_proj.weight", "down_proj.weight"))
            scale = (2 * self.config.num_hidden_layers) ** -0.5 if into_stream else 1.0
            nn.init.normal_(parameter, std=std * scale, generator=generator)


class Transformer(nn.Module):
    """A causal language model over `config`.

    generator: source of the initial weights; None means one seeded with 0, so that building a model neither depends on
    nor moves PyTorch's global generator. attention: see `model.attention`. fresh: False leaves the weights unset, for
    a caller that loads all of them.

    With tied embeddings there is no `lm_head` module and no `lm_head.weight` in the state: one parameter has one name.
    A state that holds the duplicate, as Hugging Face's does, still loads.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        generator: torch.Generator | None = None,
        attention: AttentionMethod = "auto",
        fresh: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config, attention)
        self.lm_head: nn.Linear | None = None
        if config.tie_word_embeddings:
            self.register_load_state_dict_pre_hook(_drop_tied_head)
        else:
            self.lm_head = skip_init(nn.Linear, config.hidden_size, config.vocab_size, bias=False)
        if fresh:
            self.initialise(generator or torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights; the same generator state gives the same weights."""
        self.model.initialise(generator)
        if self.lm_head is not None:
            nn.init.normal_(self.lm_head.weight, std=self.config.initializer_range, generator=generator)

    @property
    def output_weight(self) -> Tensor:
        """The matrix from hidden states to logits, (V, C): the head's, or the embedding where they are tied."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def hidden(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Final-normed hidden states (B, T, C) of input_ids (B, T).

        attention_mask: (B, T), True (or 1) for real tokens; padding may stand left or right.
        segment_ids: (B, T) integers; a token attends only to tokens of its own segment, so that several documents
        can share a row. Equal ids must be contiguous.
        position_ids: (B, T); by default each row counts from its first real token, and each segment from its start.
        Raises `InputError` for shapes that do not match or rows longer than `max_position_embeddings`.
        """
        return self.model(input_ids, position_ids=position_ids, attention_mask=attention_mask, segment_ids=segment_ids)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (…, V) of the next token, from hidden (…, C)."""
        return F.linear(hidden, self.output_weight)

    def forward(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V); arguments as in `hidden`."""
        return self.logits(
            self.hidden(input_ids, position_ids=position_ids, attention_mask=attention_mask, segment_ids=segment_ids)
        )


def _drop_tied_head(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    state_dict.pop(f"{prefix}lm_head.weight", None)


def default_positions(attention_mask: Tensor | None, segment_ids: Tensor | None) -> Tensor | None:
    """Positions (B, T) that count from each row's first real token, or from each segment's start; None: 0…T-1."""
    if segment_ids is not None:
        index = torch.arange(segment_ids.shape[1], device=segment_ids.device).expand_as(segment_ids)
        starts = torch.ones_like(segment_ids, dtype=torch.bool)
        starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
        return index - torch.where(starts, index, 0).cummax(dim=1).values
    if attention_mask is not None:
        return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    return None


def check_shapes(
    config: ModelConfig,
    input_ids: Tensor,
    position_ids: Tensor | None,
    attention_mask: Tensor | None,
    segment_ids: Tensor | None,
) -> None:
    """Raise `InputError` unless everything given is (B, T) with 0 < T ≤ max_position_embeddings."""
    if input_ids.dim() != 2 or input_ids.shape[1] == 0:
        raise InputError(f"input_ids has shape {tuple(input_ids.shape)}: pass a batch (B, T) of at least one token.")
    if input_ids.shape[1] > config.max_position_embeddings:
        raise InputError(
            f"{input_ids.shape[1]} tokens exceed max_position_embeddings "
            f"{config.max_position_embeddings}: shorten the input or build a model with more positions."
        )
    given = {"position_ids": position_ids, "attention_mask": attention_mask, "segment_ids": segment_ids}
    for name, tensor in given.items():
        if tensor is not None and tensor.shape != input_ids.shape:
            raise InputError(
                f"{name} has shape {tuple(tensor.shape)}, input_ids {tuple(input_ids.shape)}: they must be equal."
            )
