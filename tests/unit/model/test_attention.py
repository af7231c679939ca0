"""Attention written out in blocks of queries is attention."""

import pytest
import torch
import torch.nn.functional as F

from model import attention
from model.attention import attention_limits, grouped_matmul_attention


def case(num_tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(2, heads, num_tokens, 4, generator=random, dtype=torch.float64, requires_grad=True)
        for heads in (6, 2, 2)
    )


@pytest.mark.parametrize("num_tokens", [1, 63, 64, 65, 150])
@pytest.mark.parametrize("masked", [False, True])
def test_blocks_give_the_values_and_gradients_of_torchs_attention(num_tokens, masked):
    q, k, v = case(num_tokens)
    segments = torch.arange(num_tokens).expand(2, -1) // 40  # the edge of a document falls inside a block
    limits = attention_limits(num_tokens, q.device, None, segments) if masked else None
    ours = grouped_matmul_attention(q, k, v, limits)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=limits, is_causal=not masked, enable_gqa=True)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, reference in zip(
        torch.autograd.grad(ours, (q, k, v), upstream), torch.autograd.grad(theirs, (q, k, v), upstream), strict=True
    ):
        torch.testing.assert_close(mine, reference)


def test_the_size_of_a_block_changes_nothing_but_speed(monkeypatch):
    q, k, v = case(20)
    whole = grouped_matmul_attention(q, k, v, None)
    monkeypatch.setattr(attention, "QUERY_BLOCK", 7)
    torch.testing.assert_close(grouped_matmul_attention(q, k, v, None), whole)
