"""A layer by kernels is the layer: hidden states and gradients against the plain path in float64."""

import copy

import pytest
import torch

from model.config import ModelConfig
from model.rope_scaling import RopeScaling
from model.rotary import rotary_tables, whole_width
from model.transformer import Transformer
from tests.kernels import FORMATS, IN_BF16, needs_bf16, needs_kernels, torch_threads

fused = pytest.importorskip("model.fused")
pytestmark = needs_kernels

SMALL = {"hidden_size": 96, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
WIDE = {"hidden_size": 48, "intermediate_size": 32, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 160}
YARN = RopeScaling(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)


def windowed(width):
    return {**SMALL, "model_type": "mistral", "sliding_window": width}


def segments(rows, num_tokens, every):
    return (torch.arange(num_tokens).expand(rows, -1) + torch.arange(rows)[:, None]) // every


def padded(rows, num_tokens, left, right):
    """The first row has padding, the others have none."""
    mask = torch.ones(rows, num_tokens, dtype=torch.bool)
    mask[0, :left] = False
    mask[0, num_tokens - right :] = False
    return mask


CASES = {  # sizes, rows, tokens, what else is given
    "one token": (SMALL, 2, 1, {}),
    "less than a block": (SMALL, 3, 15, {}),
    "a block and one": (SMALL, 2, 33, {}),
    "whole blocks": (SMALL, 1, 128, {}),
    "odd": (SMALL, 2, 197, {}),
    "wide heads": (WIDE, 2, 70, {}),
    "a head for each": ({**SMALL, "num_key_value_heads": 4}, 1, 47, {}),
    "documents": (SMALL, 2, 150, {"segment_ids": segments(2, 150, 37)}),
    "documents longer than blocks": (SMALL, 2, 200, {"segment_ids": segments(2, 200, 85)}),
    "short documents": (WIDE, 2, 67, {"segment_ids": segments(2, 67, 3)}),
    "a document for each token": (SMALL, 1, 40, {"segment_ids": segments(1, 40, 1)}),
    "one document": (SMALL, 2, 40, {"segment_ids": torch.zeros(2, 40, dtype=torch.long)}),
    "padded left": (SMALL, 2, 90, {"attention_mask": padded(2, 90, 41, 0)}),
    "padded right": (SMALL, 2, 90, {"attention_mask": padded(2, 90, 0, 37)}),
    "documents, padded on both sides": (
        SMALL, 2, 100, {"attention_mask": padded(2, 100, 9, 40), "segment_ids": segments(2, 100, 11)}
    ),
    "window of 1": (windowed(1), 2, 40, {}),
    "window of 5": (windowed(5), 2, 100, {"segment_ids": segments(2, 100, 33)}),
    "window of 31": (windowed(31), 1, 130, {}),
    "window of 32": (windowed(32), 1, 130, {"attention_mask": padded(1, 130, 20, 0)}),
    "window of 33": (windowed(33), 1, 130, {}),
    "window of 50": (windowed(50), 1, 130, {}),
    "window of all": (windowed(50), 1, 50, {}),
    "positions": (SMALL, 2, 50, {"position_ids": torch.arange(100).flip(0).view(2, 50) * 3}),
    "yarn": ({**SMALL, "rope_scaling": YARN}, 2, 60, {}),
}  # fmt: skip


def model_of(sizes, **changes):
    """With norms that are not 1 and matrices large enough for attention to be uneven."""
    config = ModelConfig(vocab_size=48, max_position_embeddings=300, **{"num_hidden_layers": 2, **sizes, **changes})
    model, random = Transformer(config), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=random) * 0.2)
            else:
                parameter.mul_(4)
    return model


def run(model, rows, num_tokens, given, *, fuse, bf16=False):
    """Hidden states where tokens are real, and the gradients of a random sum of them."""
    model = copy.deepcopy(model)
    model.model.may_fuse = fuse
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(0, 48, (rows, num_tokens), generator=random)
    upstream = torch.randn(rows, num_tokens, model.config.hidden_size, generator=random, dtype=torch.float64)
    real = given.get("attention_mask")
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden = model.hidden(ids, **given)
    exact = hidden.double() if real is None else hidden.double() * real[..., None]
    (exact * upstream).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.model.named_parameters()}
    return {"hidden": exact.detach(), **gradients}, hidden.grad_fn


def exactly(model, *given):
    tables = model.model.cos, model.model.sin  # positions are turned by the same angles
    model = copy.deepcopy(model).double()
    model.model.cos, model.model.sin = (table.double() for table in tables)
    return run(model, *given, fuse=False)[0]


def distances(found, expected):
    """Of each tensor relative to its norm, or for gradients that are all but 0 to a hundredth of the largest."""
    least = max(float(tensor.norm()) for tensor in expected.values()) / 100
    return {
        name: float((found[name].double() - tensor).norm()) / max(float(tensor.norm()), least)
        for name, tensor in expected.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_fp32_is_the_plain_path_in_float64(case):
    sizes, *given = CASES[case]
    model = model_of(sizes)
    found, made_by = run(model, *given, fuse=True)
    assert "Normalised" in made_by.name(), "kernels ran"
    far = {name: far for name, far in distances(found, exactly(model, *given)).items() if not far < 1e-5}
    assert not far


@needs_bf16
@pytest.mark.parametrize("case", CASES)
def test_bf16_is_as_near_to_float64_as_the_plain_path(case):
    sizes, *given = CASES[case]
    model = model_of(sizes)
    expected = exactly(model, *given)
    found, made_by = run(model, *given, fuse=True, bf16=True)
    assert "Normalised" in made_by.name(), "kernels ran"
    ours, plain = (distances(results, expected) for results in (found, run(model, *given, fuse=False, bf16=True)[0]))
    total_ours, total_plain = (sum(far.values()) / len(far) for far in (ours, plain))
    assert total_ours < 1.3 * total_plain
    assert not {name: far for name, far in ours.items() if not far < 2 * plain[name] + 1e-3}


@pytest.mark.parametrize("threads", [1, 3, 5])
@pytest.mark.parametrize("format", FORMATS)
def test_what_comes_out_does_not_depend_on_the_number_of_threads(threads, format):
    """Bytes of each function by itself: torch's products between them may differ."""
    random = torch.Generator().manual_seed(0)

    def numbers(*shape, dtype=format):
        return torch.randn(*shape, generator=random).to(dtype).requires_grad_()

    cos, sin = whole_width(*(table[None, None] for table in rotary_tables(70, 32, 1e4)))
    starts = torch.arange(70).expand(3, 70) // 9 * 9
    stream, added, weight = (
        numbers(3, 70, 48, dtype=torch.float32), numbers(3, 70, 48), numbers(48, dtype=torch.float32)
    )  # fmt: skip
    gate_up, qkv = numbers(130, 96), numbers(3, 70, 8 * 32)
    logits, targets, share = numbers(67, 48).detach(), torch.arange(67) % 48, torch.rand(67, generator=random)

    def results():
        outputs = *fused._Normalised.apply(stream, added, weight, 1e-6, format), fused._Gated.apply(gate_up)
        outputs = *outputs, fused._Attended.apply(qkv, cos, sin, starts, 4, 2)
        inputs = stream, added, weight, gate_up, qkv
        gradients = torch.autograd.grad([output.sin().sum() for output in outputs], inputs)
        derived = logits.clone()
        return *outputs, *gradients, fused.softmax_losses(derived, targets, share, 0.1), derived

    with torch_threads(2):
        expected = results()
    with torch_threads(threads):
        found = results()
    assert [torch.equal(a, b) for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize("trained", ["embed_tokens", "q_proj", "post_attention_layernorm", "down_proj", "layers.1"])
def test_frozen_weights_get_no_gradients_and_others_the_same(trained):
    model = model_of(SMALL)
    expected, _ = run(model, 2, 33, {}, fuse=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained in name)
    found, _ = run(model, 2, 33, {}, fuse=True)
    for name in expected.keys() - {"hidden"}:
        assert torch.equal(found[name], expected[name]) if trained in name else found[name] is None, name


def test_gradients_in_any_layout():
    model = model_of(SMALL)
    ids = torch.arange(60).view(2, 30) % 48
    weights = tuple(model.model.parameters())
    hidden = model.hidden(ids)
    upstream = torch.randn(96, 30, 2, generator=torch.Generator().manual_seed(0))
    turned = torch.autograd.grad(hidden, weights, upstream.permute(2, 1, 0), retain_graph=True)
    plain = torch.autograd.grad(hidden, weights, upstream.permute(2, 1, 0).contiguous(), retain_graph=True)
    assert all(map(torch.equal, turned, plain))
    repeated = torch.autograd.grad(hidden, weights, torch.ones(()).expand_as(hidden), retain_graph=True)
    assert all(map(torch.equal, repeated, torch.autograd.grad(hidden.sum(), weights)))


def test_norms_in_another_format():
    model, given = model_of(SMALL), (2, 33, {})
    for norm in (module for name, module in model.named_modules() if name.endswith("norm")):
        norm.bfloat16()
    found, plain = (run(model, *given, fuse=fuse)[0] for fuse in (True, False))
    assert found["norm.weight"].dtype == torch.bfloat16
    assert max(distances(found, {name: tensor.double() for name, tensor in plain.items()}).values()) < 5e-3


def test_no_rows():
    hidden = model_of(SMALL).hidden(torch.zeros(0, 5, dtype=torch.long))
    hidden.sum().backward()
    assert hidden.shape == (0, 5, 96)


@pytest.mark.parametrize("bf16", IN_BF16)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(number, bf16):
    model = model_of(SMALL)
    with torch.no_grad():
        model.model.layers[0].self_attn.k_proj.weight[3, 5] = number
    found, _ = run(model, 1, 40, {}, fuse=True, bf16=bf16)
    assert not any(tensor.isfinite().all() for name, tensor in found.items() if "down" in name or name == "hidden")
