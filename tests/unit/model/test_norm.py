import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from model.norm import RMSNorm


def pair(size: int, eps: float = 1e-5) -> tuple[RMSNorm, LlamaRMSNorm]:
    ours, theirs = RMSNorm(size, eps), LlamaRMSNorm(size, eps)
    torch.nn.init.uniform_(ours.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def rows(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()


@pytest.mark.parametrize("shape", [(1, 8), (2, 3, 8), (2, 2, 5, 8)])
def test_values_and_gradients_are_those_of_transformers(shape):
    ours, theirs = pair(8)
    x, upstream = rows(*shape), torch.randn(shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours(x), theirs(x))
    mine = torch.autograd.grad(ours(x), (x, ours.weight), upstream)
    reference = torch.autograd.grad(theirs(x), (x, theirs.weight), upstream)
    for left, right in zip(mine, reference, strict=True):
        torch.testing.assert_close(left, right)


def test_gradients_are_right_in_float64():
    norm = RMSNorm(6, 1e-3).double()
    assert torch.autograd.gradcheck(lambda x: norm(x), rows(3, 6, dtype=torch.float64))


def test_bf16_is_normalised_in_fp32_and_rounded_as_transformers_does():
    ours, theirs = (norm.bfloat16() for norm in pair(64))
    assert torch.equal(ours(rows(5, 64, dtype=torch.bfloat16)), theirs(rows(5, 64, dtype=torch.bfloat16)))


def test_a_row_of_zeros_stays_finite():
    x = torch.zeros(2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(RMSNorm(4, 1e-5)(x).sum(), x)
    assert torch.isfinite(gradient).all()
