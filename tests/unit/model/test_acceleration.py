"""Ways to run the layers while learning: each leaves the values, and says what it saves."""

import functools
import os
import subprocess
import sys

import pytest
import torch
from torch._dynamo.utils import counters

from model.acceleration import accelerated
from model.config import ModelConfig
from model.losses import language_modelling_loss
from model.scalar import ScalarModel
from model.training import TrainingConfig, train
from model.transformer import Transformer, run_layer

SIZES = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=16,
)


def batch(step: int = 0) -> dict[str, torch.Tensor]:
    ids = torch.randint(0, 40, (4, 17), generator=torch.Generator().manual_seed(step))
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}


def gradients(model: Transformer, precision: torch.dtype = torch.float32) -> tuple[dict[str, torch.Tensor], int]:
    """The gradients of one batch, and the bytes that forward kept for backward."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss, _ = language_modelling_loss(model, batch())
        size = sum(size for place, size in kept.items() if place not in weights)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found, size


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_activation_checkpointing_gives_equal_gradients_from_less_memory(precision):
    model = Transformer(SIZES)
    plain, plain_size = gradients(model, precision)
    with accelerated(model, activation_checkpointing=True):
        again, size = gradients(model, precision)
    for name in plain:
        assert torch.equal(plain[name], again[name]), name
    assert size < plain_size / 3


def test_a_whole_training_with_activation_checkpointing_ends_with_the_same_bytes():
    ends = []
    for saving in (False, True):
        model = Transformer(SIZES)
        config = TrainingConfig(steps=4, batch_size=4, lr=0.01)
        train(model, batch, language_modelling_loss, config, activation_checkpointing=saving)
        ends.append(model.state_dict())
    for name in ends[0]:
        assert torch.equal(ends[0][name], ends[1][name]), name


def test_layers_run_plainly_afterwards_and_without_gradients():
    policy, value = Transformer(SIZES), ScalarModel(SIZES)
    calls = []
    with pytest.raises(ZeroDivisionError), accelerated(policy, value, activation_checkpointing=True):
        assert policy.model.run_layer is value.model.run_layer is not run_layer
        policy.model.run_layer = lambda *arguments: calls.append(arguments) or run_layer(*arguments)
        with torch.no_grad():
            policy(batch()["input_ids"])
        assert not calls
        policy(batch()["input_ids"])
        assert len(calls) == 3
        raise ZeroDivisionError
    assert policy.model.run_layer is value.model.run_layer is run_layer


def test_all_layers_share_one_compiled_graph():
    model = Transformer(SIZES)
    plain, _ = gradients(model)
    torch._dynamo.reset()
    counters.clear()
    with accelerated(model, compile=True):
        compiled, _ = gradients(model)
    assert counters["stats"]["unique_graphs"] == 1
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], atol=1e-6, rtol=1e-4)


def test_every_length_is_compiled_however_many_there_are_and_whatever_ran_before(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))  # traces, writes no code
    model = Transformer(SIZES)
    for _ in range(2):
        counters.clear()
        with accelerated(model, compile=True):
            for length in range(2, 12):  # PyTorch gives up after eight
                model(batch()["input_ids"][:, :length])
        assert counters["stats"]["unique_graphs"] == 10


def test_without_a_compiler_the_error_says_what_to_do():
    code = (
        "from tests.unit.model.test_acceleration import *\n"
        "with accelerated(model := Transformer(SIZES), compile=True):\n"
        "    model(batch()['input_ids'])"
    )
    nowhere = {**os.environ, "CXX": "no-such-compiler", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=nowhere, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "model.errors.CompilerMissing: compiling needs a C++ compiler, and none is found: install one (g++ or clang), "
        "or leave compiling out"
    )
