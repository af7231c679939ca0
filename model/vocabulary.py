"""More tokens for a model that has learned already: rows of its embedding and of its head, if that is its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from model.transformer import Transformer

TABLES = ("model.embed_tokens.weight", "lm_head.weight")  # the second where embeddings are not tied


def with_new_tokens(model: Transformer, used: Sequence[int], new: Sequence[int]) -> Transformer:
    """The model, ready for the token ids `new`: rows it has to spare are used, others are added at the end.

    Each new row, and any between, is the mean of the rows of `used`, the ids that the model has learned: then no new
    token is likelier than the others are in the (geometric) mean, so what the model says hardly changes (Hewitt 2021,
    "Initializing New Word Embeddings for Pretrained Language Models"). Means are in float64.
    """
    vocab_size = max(model.config.vocab_size, max(new) + 1)
    grown = Transformer(
        dataclasses.replace(model.config, vocab_size=vocab_size), attention=model.model.attention, fresh=False
    )
    state = model.state_dict()
    for name in TABLES:
        if name in state:
            state[name] = _with_rows(state[name], vocab_size, used, new)
    grown.load_state_dict(state)
    return grown.to(model.model.embed_tokens.weight.device)


def _with_rows(table: Tensor, num_rows: int, used: Sequence[int], new: Sequence[int]) -> Tensor:
    mean = table[torch.tensor(used, device=table.device)].double().mean(0).to(table.dtype)
    rows = torch.cat([table, mean.expand(num_rows - len(table), -1)])
    rows[torch.tensor(new, device=table.device)] = mean
    return rows
