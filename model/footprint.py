"""What a model costs to train, before it is trained: parameters, operations for each token, memory of a step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig
from model.transformer import Transformer

NUMBER_BYTES = 4  # of fp32


@dataclass(frozen=True)
class Footprint:
    """Bytes are those of fp32 without compiling; bf16 takes fewer for activations. What a step holds for moments only
    (a matrix product's result, PyTorch itself) comes on top.

    state_bytes: weights, their gradients and the optimiser's moments. activation_bytes: what the forward pass of one
    part of a batch keeps for the backward pass.
    """

    parameters: int
    flops_per_token: int
    state_bytes: int
    activation_bytes: int


def footprint(config: ModelConfig, *, rows: int, context_length: int, optimizer: str) -> Footprint:
    """Of a step on `rows` rows of `context_length` tokens at once. Counted on real passes of one and two layers."""
    parameters = config.num_parameters()
    matrices = config.num_hidden_layers * config.layer_matrices()
    moments = 2 * parameters - (matrices if optimizer == "muon" else 0)  # Muon keeps one a weight, AdamW two
    one, two = (kept_bytes(dataclasses.replace(config, num_hidden_layers=n), context_length) for n in (1, 2))
    backbone = one + (config.num_hidden_layers - 1) * (two - one)
    head = rows * context_length * config.hidden_size + config.vocab_size * config.hidden_size  # see model/losses.py
    return Footprint(
        parameters=parameters,
        flops_per_token=config.flops_per_token(context_length),
        state_bytes=NUMBER_BYTES * (2 * parameters + moments),
        activation_bytes=rows * backbone + NUMBER_BYTES * head,
    )


def kept_bytes(config: ModelConfig, context_length: int) -> int:
    """Bytes that the backbone keeps for the backward pass of one row, each tensor once, weights left out."""
    model = Transformer(config)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def given_back(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, given_back):
        hidden = model.hidden(torch.zeros(1, context_length, dtype=torch.int64))
    assert hidden.grad_fn is not None  # which holds what was kept until here
    return sum(kept.values())
