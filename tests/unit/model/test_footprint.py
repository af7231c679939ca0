"""What a model is said to cost is what it costs."""

import json
from argparse import Namespace
from pathlib import Path

import jsonschema
import pytest
import torch

from model.command import main as command
from model.command import presets
from model.command.recipe import PRESETS
from model.config import ModelConfig
from model.footprint import footprint, kept_bytes
from model.losses import language_modelling_loss
from model.optim import build_optimizers
from model.transformer import Transformer

ROOT = Path(__file__).parents[3]
CONFIG = ModelConfig(
    vocab_size=300, hidden_size=32, intermediate_size=88, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64,
)  # fmt: skip


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_state_is_as_large_as_that_of_a_real_step(optimizer, tied):
    config = ModelConfig(**{**vars(CONFIG), "tie_word_embeddings": tied})
    model = Transformer(config)
    optimizers = build_optimizers(model, optimizer, lr=1e-3)
    tokens = torch.zeros(2, 64, dtype=torch.int64)
    language_modelling_loss(model, {"input_ids": tokens, "targets": tokens})[0].backward()
    optimizers.step()
    moments = [value for name, value in optimizers.state_tensors().items() if not name.startswith("step.")]
    held = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None), *moments]
    found = footprint(config, rows=2, context_length=64, optimizer=optimizer)
    assert found.state_bytes == sum(tensor.nbytes for tensor in held)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_activations_are_those_that_a_real_forward_pass_keeps():
    model, rows = Transformer(CONFIG), 6
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    tokens = torch.zeros(rows, 64, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss, _ = language_modelling_loss(model, {"input_ids": tokens, "targets": tokens})
    assert loss.requires_grad
    found = footprint(CONFIG, rows=rows, context_length=64, optimizer="muon").activation_bytes
    assert found == pytest.approx(sum(kept.values()), rel=0.02)


def test_longer_rows_and_wider_models_keep_more():
    wider = ModelConfig(**{**vars(CONFIG), "hidden_size": 64, "head_dim": 16})
    assert kept_bytes(CONFIG, 64) == pytest.approx(2 * kept_bytes(CONFIG, 32), rel=0.05)
    assert kept_bytes(wider, 64) > 1.4 * kept_bytes(CONFIG, 64)


def test_the_command_and_the_page_tell_the_same_figures(capsys):
    assert command.main(["presets", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    schema = json.loads((ROOT / "docs" / "schemas" / "model-presets.json").read_text())
    jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
    assert [entry["preset"] for entry in answer["presets"]] == list(PRESETS)
    presets.run(Namespace(json=False))
    table = capsys.readouterr().out
    assert table in (ROOT / "docs" / "model.md").read_text(), "paste the output of `python -m model presets`"
