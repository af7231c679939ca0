import numpy as np
import torch
from numba import njit

from model.pointers import halves, words
from model.vectors import LANES, exp, load, store


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
