"""How matrices are laid out for the products of a training step's attention, and those products, for code that numba
compiles. A right factor lies in panels as compiled_products.py says; rows and columns are padded to multiples of 32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from model import tiles
from model.compiled_products import FAST, add_up_to_four, add_wide
from model.pointers import moved
from model.vector_tile import HIGH, WIDE
from model.vectors import LANES, copy_two, load, load_one, multiply, multiply_add, repeat, store, subtract, transpose

ZERO = np.float32(0)


def product(
    rows: Any, depth: Any, x: Any, x_step: Any, width: Any, panels: Any, apart: Any, initial: Any, initial_step: Any,
    y: Any, y_step: Any,
) -> None:  # fmt: skip
    """y (rows, width) = initial + x (rows, depth) · panels, `apart` numbers from one to the next, for multiples of 16
    rows, 16 columns and 32 numbers. For compiled code alone: numba takes what `_product` chooses by the format."""
    raise NotImplementedError


@overload(product)
def _product(
    rows: Any, depth: Any, x: Any, x_step: Any, width: Any, panels: Any, apart: Any, initial: Any, initial_step: Any,
    y: Any, y_step: Any,
) -> Any:  # fmt: skip
    def by_vectors(
        rows: Any, depth: Any, x: Any, x_step: Any, width: Any, panels: Any, apart: Any, initial: Any,
        initial_step: Any, y: Any, y_step: Any,
    ) -> None:  # fmt: skip
        for column in range(0, width, WIDE):
            panel = moved(panels, column // LANES * apart)
            for row in range(0, rows, HIGH):
                add_wide(
                    column + WIDE <= width, depth, moved(x, row * x_step), x_step, 1, panel, apart, 0,
                    moved(initial, row * initial_step + column), initial_step, moved(y, row * y_step + column), y_step,
                )  # fmt: skip

    def by_tiles(
        rows: Any, depth: Any, x: Any, x_step: Any, width: Any, panels: Any, apart: Any, initial: Any,
        initial_step: Any, y: Any, y_step: Any,
    ) -> None:  # fmt: skip
        for column in range(0, width, 2 * LANES):
            panel = moved(panels, column // LANES * apart)
            for row in range(0, rows, 2 * LANES):
                left, before = moved(x, row * x_step), moved(initial, row * initial_step + column)
                add_up_to_four(
                    row + LANES < rows, column + LANES < width, depth, left, x_step, panel, apart, before,
                    initial_step, moved(y, row * y_step + column), y_step,
                )  # fmt: skip

    return by_tiles if tiles.multiplies(x) else by_vectors


@njit(**FAST)
def turn(T: Any, D: Any, x: Any, step: Any, cos: Any, sin: Any, sign: Any, scale: Any, y: Any, y_step: Any) -> None:
    """y (T, D) = x turned by its positions (sign -1: turned back), times `scale`."""
    half, factor, direction = D // 2, repeat(scale), repeat(sign * scale)
    for t in range(T):
        for i in range(0, half, LANES):
            first, second = load(x, t * step + i), load(x, t * step + half + i)
            c, s = multiply(load(cos, t * D + i), factor), multiply(load(sin, t * D + half + i), direction)
            store(y, t * y_step + i, subtract(multiply(first, c), multiply(second, s)))
            store(y, t * y_step + half + i, multiply_add(second, c, multiply(first, s)))


@njit(**FAST)
def copy(T: Any, D: Any, x: Any, step: Any, y: Any, y_step: Any) -> None:
    """y (T, D) = x, with `step` and `y_step` numbers from row to row."""
    for t in range(T):
        for i in range(0, D, LANES):
            store(y, t * y_step + i, load(x, t * step + i))


@njit(**FAST)
def clear(x: Any, first: Any, last: Any) -> None:
    for i in range(first, last, LANES):
        store(x, i, repeat(ZERO))


@njit(**FAST)
def panels_over_rows(P: Any, D: Any, x: Any, pairs: Any, panels: Any) -> None:
    """x (P, D) as a right factor whose columns are x's rows. pairs: how many numbers 16 columns of a row hold."""
    for row in range(0, P, LANES):
        for i in range(0, D, pairs):
            transpose(moved(x, row * D + i), D, moved(panels, row * D + i * LANES))


@njit(**FAST)
def panels_over_columns(P: Any, D: Any, x: Any, panels: Any) -> None:
    """x (P, D) as a right factor whose columns are x's columns."""
    for i in range(0, D, LANES):
        for row in range(0, P, 2):
            copy_two(panels, i * P + row * LANES, x, row * D + i, (row + 1) * D + i)


@njit(**FAST)
def rows_of_panels(P: Any, D: Any, panels: Any, turned: Any) -> None:
    """turned (D, P): what `panels_over_rows` has made panels of, its rows as columns."""
    for row in range(0, P, LANES):
        for i in range(0, D, 2):
            place = row * D + i * LANES
            store(turned, i * P + row, load_one(panels, place, 0))
            store(turned, (i + 1) * P + row, load_one(panels, place, 1))
