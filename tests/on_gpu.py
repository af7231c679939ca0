"""Where the tests of tests/gpu compute: on a GPU. PEDIGREE_TEST_DEVICE=cpu tries the tests themselves without one."""

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.losses import language_modelling_loss
from model.seeding import generator
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tests.older_torch import compile_as_pinned

compile_as_pinned()
DEVICE = torch.device(os.environ.get("PEDIGREE_TEST_DEVICE", "cuda"))
HERE = DEVICE.type == "cpu" or torch.cuda.is_available()

# What a GPU's libraries warn of differs from one release to the next.
needs_gpu = [
    pytest.mark.skipif(not HERE, reason="PyTorch finds no GPU here"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(240),
]

# Heads of 64 in groups and rows of 256: what the fused kernels of attention take.
SIZES = ModelConfig(
    vocab_size=1000, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256,
)  # fmt: skip


def batch(step: int, packed: bool = False, rows: int = 8) -> dict[str, Tensor]:
    """Rows whose next token follows from the last by a rule. packed: several documents a row, with the rest masked."""
    length, chance = SIZES.max_position_embeddings, generator(0, "batch", step)
    starts = torch.randint(0, SIZES.vocab_size, (rows, 1), generator=chance)
    ids = (starts + 7 * torch.arange(length + 1)) % SIZES.vocab_size
    given = {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}
    if packed:
        ends = torch.rand(rows, length, generator=chance) < 0.02
        given["segment_ids"] = ends.long().cumsum(1)
        given["loss_mask"] = torch.rand(rows, length, generator=chance) < 0.7
    return given


def learn(config: TrainingConfig, *, packed: bool = False, device: torch.device = DEVICE, **options: Any) -> "Learned":
    """A training from the start, or from what `options` name; TrainingStopped passes."""
    learned = Learned(Transformer(SIZES))
    train(
        learned.model,
        lambda step: batch(step, packed),
        language_modelling_loss,
        config,
        device=device,
        on_step=lambda step, figures: learned.losses.append(figures["loss"]),
        **options,
    )
    return learned


class Learned:
    """A model and the loss of each step it made."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.losses = model, list[float]()

    def weights(self) -> dict[str, bytes]:
        """By name."""
        return weights(self.model)


def weights(model: torch.nn.Module) -> dict[str, bytes]:
    """The bytes of a model's tensors."""
    return {name: tensor.cpu().numpy().tobytes() for name, tensor in model.state_dict().items()}
