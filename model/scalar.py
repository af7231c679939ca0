"""A decoder with one number a token: reward model and value function, laid out as `LlamaForSequenceClassification`."""

from __future__ import annotations

import dataclasses
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from model.attention import AttentionMethod
from model.config import ModelConfig
from model.errors import InputError, ModelConfigError
from model.transformer import Backbone, Transformer


class ScalarModel(nn.Module):
    """Backbone `model.*` and a linear head `score.weight` (1, C) without bias.

    The head starts from N(0, 1/(C+1)), so that the first scores have about unit variance (Stiennon et al. 2020; Huang
    et al. 2024, on initialising the reward head). generator, attention and fresh: as in `Transformer`.
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
        # The checkpoint calls the head `score`, and so does the method below. Registered by name, the head is found as
        # `self.head` and the method keeps its own.
        self._modules["score"] = skip_init(nn.Linear, config.hidden_size, 1, bias=False)
        if fresh:
            generator = generator or torch.Generator().manual_seed(0)
            self.model.initialise(generator)
            self.initialise_head(generator)

    @property
    def head(self) -> nn.Linear:
        """The module behind `score.weight`."""
        return cast(nn.Linear, self._modules["score"])

    def initialise_head(self, generator: torch.Generator) -> None:
        """Draw a fresh head and leave the backbone as it is."""
        nn.init.normal_(self.head.weight, std=(self.config.hidden_size + 1) ** -0.5, generator=generator)

    def num_parameters(self) -> int:
        """Trained numbers, the head included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """A number for each position, (B, T), from input_ids (B, T) and attention_mask (B, T), True for real tokens.

        Numbers at padding mean nothing. Padding may stand left or right.
        """
        hidden = self.model(input_ids, attention_mask=attention_mask)  # (B, T, C)
        return self.head(hidden).squeeze(-1)

    def score(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The number at each row's last real token, (B,). `InputError` for a row without any."""
        values = self(input_ids, attention_mask)  # (B, T)
        return values.gather(1, last_real_token(input_ids, attention_mask)[:, None]).squeeze(1)

    @classmethod
    def from_causal(
        cls, transformer: Transformer, num_hidden_layers: int | None = None, *, generator: torch.Generator | None = None
    ) -> Self:
        """Start from the first layers of a causal model (all of them by default), with a fresh head.

        Embedding, layers and final norm are copied, so later training of one does not move the other.
        """
        depth = transformer.config.num_hidden_layers if num_hidden_layers is None else num_hidden_layers
        if not 1 <= depth <= transformer.config.num_hidden_layers:
            raise ModelConfigError(
                f"num_hidden_layers is {depth}, but the causal model has "
                f"{transformer.config.num_hidden_layers}: ask for 1 up to that many."
            )
        config = dataclasses.replace(transformer.config, num_hidden_layers=depth)
        scalar = cls(config, generator=generator, attention=transformer.model.attention)
        wanted = scalar.model.state_dict().keys()
        scalar.model.load_state_dict(
            {name: tensor for name, tensor in transformer.model.state_dict().items() if name in wanted}
        )
        parameter = transformer.model.embed_tokens.weight
        return scalar.to(device=parameter.device, dtype=parameter.dtype)


def last_real_token(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Index of each row's last real token, (B,)."""
    if attention_mask is None:
        return torch.full((input_ids.shape[0],), input_ids.shape[1] - 1, device=input_ids.device)
    real = attention_mask.bool()
    if not bool(real.any(dim=1).all()):
        raise InputError("a row has no real token, so there is nothing to score: leave such rows out.")
    index = torch.arange(input_ids.shape[1], device=input_ids.device)
    return torch.where(real, index, -1).amax(dim=1)
