"""fp32 products in parts on the matrix unit, against float64 and against torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import products
from model.losses import language_modelling_loss
from model.products import matrix_product
from model.seeding import generator
from model.training import TrainingConfig, train
from tests.kernels import torch_threads
from tests.one_batch import language_model

pytest.importorskip("numba")
on_the_unit = pytest.mark.skipif(not products.has_unit(), reason="the processor has no matrix unit")
ROUNDING = 2.0**-24


def factors(M, N, K, turned=(False, False), spread=0.0, seed=0):
    """a (M, K) and b (K, N), the numbers of whose columns are up to 10^spread times as large as those of others."""
    random = generator(seed, "factors", M, N, K)
    a, b = torch.randn(M, K, generator=random), torch.randn(K, N, generator=random)
    a, b = (matrix * 10 ** (spread * torch.rand(matrix.shape[1], generator=random)) for matrix in (a, b))
    return (matrix.mT.contiguous().mT if turn else matrix for matrix, turn in zip((a, b), turned, strict=True))


def deviation(c, a, b):
    """Of c from a · b, as a share of the largest that it could be."""
    exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    return float(((c.double() - exact).abs() / size.clamp(min=1e-300)).max())


@pytest.fixture
def always(monkeypatch):
    """Small products are split, too."""
    monkeypatch.setattr(products, "WORTH_SPLITTING", 0)
    monkeypatch.setattr(products, "WORTH_EACH", 0)


@on_the_unit
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 140), st.integers(1, 140), st.integers(1, 1100)),
    turned=st.tuples(st.booleans(), st.booleans()), adds=st.booleans(), spread=st.sampled_from([0.0, 4.0]),
)  # fmt: skip
def test_products_are_as_exact_as_fp32_allows(sizes, turned, adds, spread):
    from model.split_products import split_product

    M, N, K = sizes
    a, b = factors(M, N, K, turned, spread)
    before = torch.randn(M, N + 3, generator=generator(1))  # more than it is to write
    whole = before.clone()
    out = whole[:, :N]
    assert split_product(a, b, out, adds) is out
    assert torch.equal(whole[:, N:], before[:, N:])
    # As a sum in fp32 of so many products: none is off by more than its rounding and those of the terms left out.
    share = (out.double() - before[:, :N].double()).float() if adds else out
    assert deviation(share, a, b) <= ROUNDING * (4 + K**0.5) + (1e-5 if adds else 0)


@on_the_unit
@pytest.mark.parametrize("turned", [(False, True), (False, False), (True, False)])
def test_the_mean_deviation_is_no_larger_than_torchs(turned):
    from model.split_products import split_product

    a, b = factors(512, 384, 512, turned)
    exact = a.double() @ b.double()
    ours = split_product(a, b, torch.empty(512, 384)).double()
    assert (ours - exact).norm() < (torch.mm(a, b).double() - exact).norm()


@on_the_unit
def test_whole_numbers_are_multiplied_without_error():
    from model.split_products import split_product

    a = torch.randint(-2000, 2000, (70, 50), generator=generator(2)).float()
    b = torch.eye(50)[:, torch.randperm(50, generator=generator(3))]
    assert torch.equal(split_product(a * 8191, b, torch.empty(70, 50)), a * 8191 @ b)


@on_the_unit
@pytest.mark.parametrize("sizes", [(200, 70, 600), (70, 4500, 40)])
def test_the_number_of_threads_does_not_show(sizes):
    from model.split_products import split_product

    a, b = factors(*sizes)
    found = []
    for number in (1, 2, 5):
        with torch_threads(number):
            found.append(split_product(a, b, torch.empty(sizes[0], sizes[1])))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_all_formats_are_multiplied(dtype, always):
    a, b = (matrix.to(dtype) for matrix in factors(40, 50, 60))
    expected = a @ b
    allowed = {"rtol": 1e-2, "atol": 0.1} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(matrix_product(a, b), expected, **allowed)
    into = torch.ones(40, 50, dtype=dtype)
    assert matrix_product(a, b, into) is into
    torch.testing.assert_close(into, expected, **allowed)
    torch.testing.assert_close(matrix_product(a, b, into, adds=True), 2 * expected, **allowed)


def test_what_does_not_fit_is_left_to_torch(always, monkeypatch):
    monkeypatch.setattr("model.split_products.split_product", None)
    sparse = torch.randn(40, 80)[:, ::2]  # no numbers that follow one another
    assert torch.equal(matrix_product(sparse, sparse.mT), sparse @ sparse.mT)


@on_the_unit
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_with_them_learns_the_same(optimizer, always, monkeypatch):
    ids = torch.randint(0, 48, (4, 17), generator=generator(0))
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:]}

    def losses():
        model, found = language_model(48, hidden_size=32, intermediate_size=48, head_dim=32), []
        config = TrainingConfig(steps=12, lr=0.01, optimizer=optimizer, precision="fp32")
        train(model, lambda _: batch, language_modelling_loss, config, on_step=lambda _, f: found.append(f["loss"]))
        return found

    ours = losses()
    assert losses() == ours
    monkeypatch.setattr(products, "WORTH_SPLITTING", 1 << 60)
    plain = losses()
    assert ours == pytest.approx(plain, rel=1e-4) and ours != plain
    assert ours[-1] < ours[0] - 1
