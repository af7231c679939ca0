import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.config import ModelConfig
from model.data import Example
from model.evaluation import bits_per_byte, document_bits, example_losses
from model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=20,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=16,
)


def test_example_losses_equal_one_at_a_time():
    model = Transformer(CONFIG)
    random = np.random.default_rng(0)
    examples = [
        Example(random.integers(0, 20, length).tolist(), (random.random(length) < 0.6).tolist())
        for length in (5, 2, 9, 9, 16)
    ]
    losses, counts = example_losses(model, examples, batch_tokens=20)
    for example, loss, count in zip(examples, losses, counts, strict=True):
        ids, mask = torch.tensor([example.ids]), torch.tensor(example.loss_mask)
        each = F.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="none")[mask[1:]]
        assert loss == pytest.approx(each.sum().item(), abs=1e-4) and count == mask[1:].sum()


def test_document_bits_sum_over_pieces_of_the_context():
    model = Transformer(CONFIG)
    document = np.random.default_rng(1).integers(0, 20, 10)
    bits = document_bits(model, [document[:3], document], start_token=0, context=4)
    tokens = [0, *document.tolist()]
    expected = 0.0
    for start in (0, 4, 8):
        ids = torch.tensor([tokens[start : start + 5]])
        expected += F.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="sum").item() / np.log(2)
    assert bits[1] == pytest.approx(expected, rel=1e-4)
    assert 0 < bits[0] < bits[1]


def test_a_uniform_model_needs_the_logarithm_of_the_vocabulary():
    model = Transformer(CONFIG)
    torch.nn.init.zeros_(model.output_weight)
    bits = document_bits(model, [np.arange(6), np.arange(9)], start_token=0, context=8)
    assert bits == pytest.approx(np.log2(20) * np.array([6, 9]), rel=1e-5)
    assert bits_per_byte(bits, np.array([12, 18])) == pytest.approx([np.log2(20) / 2] * 3, rel=1e-5)


def test_the_mode_of_the_model_is_given_back():
    model = Transformer(CONFIG).train()
    example_losses(model, [Example([1, 2], [True, True])])
    assert model.training
