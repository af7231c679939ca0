import numpy as np
import pytest
import torch
from numba import njit

from model import tiles
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
def test_a_block_of_a_product_on_the_matrix_unit(depth):
    @njit
    def add_block(depth, x, step, panel, initial, initial_step, y, y_step):
        tiles.begin(halves(0))
        tiles.add_block(depth, halves(x), step, halves(panel), words(initial), initial_step, words(y), y_step)
        tiles.end(halves(0))

    random = torch.Generator().manual_seed(0)
    x = torch.randn(16, depth + 8, generator=random).bfloat16()
    matrix = torch.randn(depth, 16, generator=random).bfloat16()
    panel = matrix.view(depth // 2, 2, 16).transpose(1, 2).contiguous()
    initial, y = torch.randn(16, 20, generator=random), torch.full((16, 24), 7.0)
    add_block(depth, x.data_ptr(), depth + 8, panel.data_ptr(), initial.data_ptr(), 20, y.data_ptr(), 24)
    torch.testing.assert_close(y[:, :16], initial[:, :16] + x[:, :depth].float() @ matrix.float())
    assert (y[:, 16:] == 7).all()
    add_block(depth, x.data_ptr(), depth + 8, panel.data_ptr(), initial.data_ptr(), 0, y.data_ptr(), 24)
    torch.testing.assert_close(y[:, :16], initial[0, :16] + x[:, :depth].float() @ matrix.float())
