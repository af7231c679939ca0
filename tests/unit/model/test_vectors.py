import numpy as np
import pytest
import torch
from numba import njit

from model import tiles
from model.compiled_products import add_up_to_four
from model.pointers import halves, words
from model.vectors import LANES, exp, load, load_one, store, store_two, subtract, transpose


@njit
def exponentials_and_halves(source, exponentials, rounded, widened, count):
    for i in range(0, count, LANES):
        value = load(words(source), i)
        store(words(exponentials), i, exp(value))
        store(halves(rounded), i, value)
        store(words(widened), i, load(halves(rounded), i))


def test_exponentials_and_rounding_to_bf16_and_back():
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 87.0, -87.0, 88.1, -87.1, 1e30, -1e30, 1e-45, 1.00390625, 1.01171875]
    values = torch.cat((torch.tensor([*special, 3.4e38, -3.4e38]), torch.linspace(-87, 88, 16 * 500)))
    exponentials, widened = torch.empty(2, len(values)).unbind()
    rounded = torch.empty(len(values), dtype=torch.bfloat16)
    addresses = [tensor.data_ptr() for tensor in (values, exponentials, rounded, widened)]
    exponentials_and_halves(*addresses, len(values))
    expected = values.double().exp()
    expected[values < -87], expected[values > 88] = 0.0, torch.inf
    torch.testing.assert_close(exponentials.double(), expected, rtol=1.2e-7, atol=0, equal_nan=True)
    torch.testing.assert_close(rounded, values.bfloat16(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(widened, values.bfloat16().float(), rtol=0, atol=0, equal_nan=True)


@njit
def turn_words(source, step, target):
    transpose(words(source), step, words(target))


@njit
def turn_pairs(source, step, target):
    transpose(halves(source), step, halves(target))


def test_blocks_are_transposed():
    block, turned = torch.arange(16 * 40.0).view(16, 40), torch.empty(16, 16)
    turn_words(block[:, 3:].data_ptr(), 40, turned.data_ptr())
    assert torch.equal(turned, block[:, 3:19].T)


def test_blocks_of_pairs_are_transposed_and_pairs_stay_together():
    block, turned = torch.arange(16 * 40.0).view(16, 40).bfloat16(), torch.empty(16, 16, 2, dtype=torch.bfloat16)
    turn_pairs(block[:, 3:].data_ptr(), 40, turned.data_ptr())
    assert torch.equal(turned, block[:, 3:35].view(16, 16, 2).transpose(0, 1))


@njit
def differences_and_rows(first, second, difference, plain, pairs, back):
    one, other = load(words(first), 0), load(words(second), 0)
    store(words(difference), 0, subtract(one, other))
    store_two(words(plain), 0, one, other)
    store_two(halves(pairs), 0, one, other)
    store(words(back), 0, load_one(words(plain), 0, 0))
    store(words(back), LANES, load_one(words(plain), 0, 1))
    store(words(back), 2 * LANES, load_one(halves(pairs), 0, 0))
    store(words(back), 3 * LANES, load_one(halves(pairs), 0, 1))


def test_two_rows_lie_one_after_the_other_or_in_pairs_of_bf16_and_come_back():
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 16, generator=random)
    difference, plain, back = torch.empty(16), torch.empty(2, 16), torch.empty(4, 16)
    pairs = torch.empty(16, 2, dtype=torch.bfloat16)
    differences_and_rows(*(tensor.data_ptr() for tensor in (first, second, difference, plain, pairs, back)))
    rows = torch.stack((first, second))
    assert torch.equal(difference, first - second)
    assert torch.equal(plain, rows) and torch.equal(pairs, rows.bfloat16().T)
    assert torch.equal(back, torch.cat((rows, rows.bfloat16().float())))


@pytest.mark.skipif(not tiles.AVAILABLE, reason="no matrix unit for bf16 (Intel AMX) that Linux gives")
@pytest.mark.parametrize("depth", [32, 96])
@pytest.mark.parametrize(("high", "wide"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_blocks_of_a_product_on_the_matrix_unit(high, wide, depth):
    @njit
    def add_blocks(depth, x, step, panels, apart, initial, initial_step, y, y_step):
        tiles.begin(halves(0))
        add_up_to_four(
            high == 2, wide == 2, depth, halves(x), step, halves(panels), apart, words(initial), initial_step,
            words(y), y_step,
        )  # fmt: skip
        tiles.end(halves(0))

    random, rows, columns = torch.Generator().manual_seed(0), 16 * high, 16 * wide
    x = torch.randn(rows, depth + 8, generator=random).bfloat16()
    matrix = torch.randn(depth, columns, generator=random).bfloat16()
    panels = torch.full((wide, depth + 2, 16), 9.0).bfloat16()
    panels[:, :depth] = matrix.view(depth // 2, 2, wide, 16).permute(2, 0, 3, 1).reshape(wide, depth, 16)
    initial, y = torch.randn(rows, columns + 4, generator=random), torch.full((rows, columns + 8), 7.0)
    expected = x[:, :depth].float() @ matrix.float()
    for step in (columns + 4, 0):
        add_blocks(
            depth, x.data_ptr(), depth + 8, panels.data_ptr(), panels.stride(0), initial.data_ptr(), step,
            y.data_ptr(), columns + 8,
        )  # fmt: skip
        before = initial[:, :columns] if step else initial[0, :columns]
        torch.testing.assert_close(y[:, :columns], before + expected)
        assert (y[:, columns:] == 7).all()
