"""bf16 products made as fp32 ones, for processors that multiply bf16 no faster, against float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import products
from model.losses import language_modelling_loss
from model.precision import autocast
from model.products import matrix_product
from model.seeding import generator
from tests.kernels import needs_bf16, needs_kernels, torch_threads
from tests.one_batch import language_model

widened_product = pytest.importorskip("model.widened_products").widened_product
pytestmark = needs_kernels


def factors(M, N, K, turned=(False, False)):
    random = generator(0, "factors", M, N, K)
    a, b = torch.randn(M, K, generator=random).bfloat16(), torch.randn(K, N, generator=random).bfloat16()
    return (matrix.mT.contiguous().mT if turn else matrix for matrix, turn in zip((a, b), turned, strict=True))


def assert_rounded_once(found, exact, size):
    """Off by half of bf16's last digit, and by what fp32 sums of so many numbers may be off."""
    allowed = exact.abs() * 2.0**-8 + size * 2.0**-24 * 64
    assert ((found.double() - exact).abs() <= allowed).all()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 10), st.integers(1, 20), st.integers(1, 40)),
    turned=st.tuples(st.booleans(), st.booleans()), adds=st.booleans(), wide=st.booleans(),
)  # fmt: skip
def test_products_are_those_of_fp32_rounded_once(sizes, turned, adds, wide):
    M, N, K = (16 * size for size in sizes)
    a, b = factors(M, N, K, turned)
    before = torch.randn(M, N + 3, generator=generator(1))  # more than it is to write
    before = before if wide else before.bfloat16()
    whole = before.clone()
    out = whole[:, :N]
    assert widened_product(a, b, out, adds) is out
    assert torch.equal(whole[:, N:], before[:, N:])
    exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    if adds:
        exact, size = exact + before[:, :N].double(), size + before[:, :N].double().abs()
    assert_rounded_once(out, exact, size)
    assert not wide or ((out.double() - exact).abs() <= size * 2.0**-24 * 64).all()


@pytest.mark.parametrize("sizes", [(208, 80, 608), (80, 4512, 48)])
def test_the_number_of_threads_does_not_show(sizes):
    a, b = factors(*sizes)
    found = []
    for number in (1, 2, 5):
        with torch_threads(number):
            found.append(widened_product(a, b, a.new_empty(sizes[:2])))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.fixture
def calls(monkeypatch):
    """As on a processor whose bf16 products are slow; the sizes that were widened."""
    found = []

    def counted(a, b, out, adds=False):
        found.append((*a.shape, b.shape[1]))
        return widened_product(a, b, out, adds)

    monkeypatch.setattr(products, "has_fast_bf16_products", lambda: False)
    monkeypatch.setattr("model.widened_products.widened_product", counted)
    return found


@needs_bf16
def test_they_are_chosen_where_bf16_is_slow_and_sizes_fit(calls, monkeypatch):
    a, b = factors(32, 48, 64)
    assert_rounded_once(matrix_product(a, b), a.double() @ b.double(), a.double().abs() @ b.double().abs())
    assert calls == [(32, 64, 48)]
    matrix_product(a[:31], b)
    matrix_product(a[:, ::2], b[:32])
    matrix_product(a.float(), b.float())
    assert len(calls) == 1
    monkeypatch.setattr(products, "has_fast_bf16_products", lambda: True)
    matrix_product(a, b)
    assert len(calls) == 1


@needs_bf16
def test_gradients_with_them_are_those_without(calls, monkeypatch):
    ids = torch.randint(0, 48, (4, 33), generator=generator(0))
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:]}

    def gradients():
        model = language_model(48, hidden_size=32, intermediate_size=48, head_dim=32)
        with autocast("bf16", "cpu"):
            loss, _ = language_modelling_loss(model, batch)
        loss.backward()
        return loss.detach(), [parameter.grad for parameter in model.parameters()]

    loss, ours = gradients()
    assert len(calls) > 20
    monkeypatch.setattr(products, "has_fast_bf16_products", lambda: True)
    before = len(calls)
    usual, theirs = gradients()
    assert len(calls) == before
    torch.testing.assert_close(loss, usual, rtol=1e-3, atol=0)
    for own, other in zip(ours, theirs, strict=True):
        assert (own - other).norm() < 0.02 * other.norm()
