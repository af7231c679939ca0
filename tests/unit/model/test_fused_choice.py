"""Where kernels run the layers, and where the plain path does."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from model import processor, tiles
from model.acceleration import accelerated
from model.config import ModelConfig
from model.transformer import Transformer
from tests.kernels import IN_BF16, needs_kernels

pytest.importorskip("numba")
pytestmark = needs_kernels
SIZES = {
    "vocab_size": 48, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
IDS = torch.arange(40)[None]


def by_kernels(model):
    return "Normalised" in model.hidden(IDS).grad_fn.name()


@pytest.mark.parametrize("bf16", IN_BF16)
def test_sizes_and_features_that_kernels_were_made_for(bf16):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        assert by_kernels(Transformer(ModelConfig(**SIZES)))


@pytest.mark.parametrize(
    "change",
    [
        {"head_dim": 16}, {"head_dim": 48}, {"hidden_size": 72, "head_dim": 32}, {"intermediate_size": 90},
        {"model_type": "qwen2"}, {"model_type": "qwen3"},
    ],
    ids=str,
)  # fmt: skip
def test_others_take_the_plain_path(change):
    assert not by_kernels(Transformer(ModelConfig(**{**SIZES, **change})))


def test_other_formats_and_methods_take_the_plain_path():
    assert not by_kernels(Transformer(ModelConfig(**SIZES)).double())
    assert not by_kernels(Transformer(ModelConfig(**SIZES)).bfloat16())
    assert not by_kernels(Transformer(ModelConfig(**SIZES), attention="sdpa"))
    with torch.autocast("cpu", torch.float16):
        assert not by_kernels(Transformer(ModelConfig(**SIZES)))


def test_without_numba_the_plain_path(monkeypatch):
    model = Transformer(ModelConfig(**SIZES))
    kernels = model.hidden(IDS)
    processor.has_kernels.cache_clear()
    monkeypatch.setattr(processor, "find_spec", lambda name: None)
    try:
        assert not by_kernels(model)
        torch.testing.assert_close(model.hidden(IDS), kernels, rtol=0, atol=1e-5)
    finally:
        processor.has_kernels.cache_clear()


@pytest.mark.parametrize("bf16", IN_BF16)
def test_layers_computed_again_give_the_same_bytes(bf16):
    gradients = []
    for again in (False, True):
        model = Transformer(ModelConfig(**SIZES))
        with accelerated(model, activation_checkpointing=again), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            assert by_kernels(model)
            hidden = model.hidden(IDS, segment_ids=IDS // 7)
            hidden.float().square().mul(torch.arange(64)).sum().backward()
        gradients.append([parameter.grad for parameter in model.model.parameters()])
    assert all(map(torch.equal, *gradients))


def test_asking_for_a_second_derivative_is_refused():
    model = Transformer(ModelConfig(**SIZES))
    weight = model.model.layers[0].self_attn.q_proj.weight
    (gradient,) = torch.autograd.grad(model.hidden(IDS).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


BLOCKS = """
import sys
import torch
from model import tiles
tiles.AVAILABLE = tiles.AVAILABLE and len(sys.argv) == 1
from model.fused import _Attended
from model.rotary import rotary_tables, whole_width
cos, sin = whole_width(*(table[None, None] for table in rotary_tables(45, 32, 1e4)))
qkv = torch.randn(2, 45, 128, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
y = _Attended.apply(qkv, cos, sin, None, 2, 1)
results = y.detach(), *torch.autograd.grad(y.float().square().sum(), qkv)
"""


@pytest.mark.parametrize("most", ["ALL", "AVX512_CORE_BF16"])
def test_vectors_give_what_the_matrix_unit_gives(tmp_path, most):
    """The vectors in a process of their own, with machine code of its own: as where they multiply bf16 fast, and as
    where they do not."""
    if not tiles.AVAILABLE:
        pytest.skip("the processor has no matrix unit for bf16 (Intel AMX), or Linux does not give it")
    here: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv[:1])
        exec(BLOCKS, here)
    path, environment = (
        tmp_path / "results",
        {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "ONEDNN_MAX_CPU_ISA": most},
    )
    script = BLOCKS + f"torch.save(results, {str(path)!r})"
    subprocess.run([sys.executable, "-c", script, "without"], env=environment, check=True)
    for ours, theirs in zip(torch.load(path), here["results"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=0.04)
