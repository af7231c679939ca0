"""Attention written out in blocks of queries is attention, and limits said in two ways are the same."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from model import attention
from model.attention import attention_limits, first_seen, grouped_matmul_attention


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


@st.composite
def limited(draw):
    """(B, T), real tokens, documents and a window."""
    rows, num_tokens = draw(st.integers(1, 3)), draw(st.integers(1, 20))
    mask = segments = None
    if draw(st.booleans()):
        mask = torch.zeros(rows, num_tokens, dtype=torch.bool)
        for row in range(rows):
            left = draw(st.integers(0, num_tokens - 1))
            mask[row, left : draw(st.integers(left + 1, num_tokens))] = True
    if draw(st.booleans()):
        begins = draw(st.lists(st.booleans(), min_size=rows * num_tokens, max_size=rows * num_tokens))
        segments = torch.tensor(begins).view(rows, num_tokens).cumsum(1)
    return num_tokens, mask, segments, draw(st.none() | st.integers(1, 22))


@given(limited())
def test_the_first_position_that_each_sees_says_all_that_the_limits_say(case):
    num_tokens, mask, segments, window = case
    given_limits = (num_tokens, torch.device("cpu"), mask, segments, window)
    starts, limits = first_seen(*given_limits), attention_limits(*given_limits)
    assert (starts is None) == (limits is None)
    if starts is None or limits is None:
        return
    index = torch.arange(num_tokens)
    assert (starts[:, 1:] >= starts[:, :-1]).all() and (starts >= 0).all() and (starts <= index).all()
    sees = (index >= starts[:, :, None]) & (index <= index[:, None])  # (B, T, T)
    real = torch.ones(1, num_tokens, dtype=torch.bool) if mask is None else mask
    expected, sees, real = torch.broadcast_tensors(limits[:, 0], sees, real[:, :, None])
    assert torch.equal(sees[real], expected[real])
