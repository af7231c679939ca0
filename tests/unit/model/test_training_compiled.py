"""Compiled training, in bf16, is as exact as eager training: the same bytes again, and after a kill."""

import dataclasses

import pytest
import torch

from model.config import ModelConfig
from model.losses import language_modelling_loss
from model.seeding import generator
from model.training import TrainingConfig, train
from model.transformer import Transformer

SIZES = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=16,
)
CONFIG = TrainingConfig(steps=6, batch_size=4, lr=0.01, precision="bf16")


class Killed(BaseException):
    """Stands for a kill."""


def batches(step):
    ids = torch.randint(0, 40, (4, 17), generator=generator(0, step))
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}


def learn(compile, config=CONFIG, **options):
    model, losses = Transformer(SIZES), []
    train(
        model,
        batches,
        language_modelling_loss,
        config,
        compile=compile,
        on_step=lambda done, figures: losses.append(figures["loss"]),
        **options,
    )
    return losses, dict(model.state_dict())


def test_compiled_bf16_is_reproducible_and_resumes_to_the_same_bytes(tmp_path):
    losses, weights = learn(True)
    again = learn(True)

    def killed_at_three(step):
        if step == 3:
            raise Killed
        return batches(step)

    with pytest.raises(Killed):
        train(
            Transformer(SIZES),
            killed_at_three,
            language_modelling_loss,
            CONFIG,
            compile=True,
            checkpoint_dir=tmp_path,
            checkpoint_seconds=0,
        )
    resumed = learn(True, checkpoint_dir=tmp_path, checkpoint_seconds=0)
    assert losses == again[0] and losses[3:] == resumed[0]
    for name in weights:
        assert torch.equal(weights[name], again[1][name]) and torch.equal(weights[name], resumed[1][name]), name
    assert not torch.are_deterministic_algorithms_enabled()


def test_compiled_fp32_learns_what_eager_fp32_learns():
    config = dataclasses.replace(CONFIG, precision="fp32")
    compiled, eager = learn(True, config), learn(False, config)
    assert compiled[0] == pytest.approx(eager[0], rel=1e-4)
