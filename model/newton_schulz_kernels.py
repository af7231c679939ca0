"""Muon's orthogonalisation (muon.py), in bf16 on the processor's matrix unit (tiles.py) where there is one.

A thread takes a matrix through all iterations, and what it needs stays in the second-level cache. The product of a
matrix with its own transpose is symmetric, and so are polynomials of it: half of their blocks are computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model import tiles
from model.compiled_products import FAST, record, share, team_of
from model.layouts import clear, copy, panels_over_columns, panels_over_rows, product
from model.pointers import halves, moved, same_kind, words
from model.vectors import LANES, load, multiply, multiply_add, repeat, store, transpose

EDGE = 2 * LANES  # of what is computed at once
NUMBERS = EDGE * EDGE + 2 * LANES * LANES
ITERATION = record(
    "thread_number", "num_threads", "barrier", "count", "rows", "columns", "R", "C", "batch", "iterations", "formatted",
    "numbers", "zeros", numbers=("a", "b", "c"),
)  # fmt: skip
"""batch (count, rows, columns), rows ≤ columns, both multiples of 16, and of 32 rounded up R and C: each matrix X of
norm 1 becomes a X + b G X + c G² X with G = X · Xᵀ, `iterations` times. zeros: 32 of fp32. For each thread `formatted`
of 3 R² + 2 R C numbers of the batch's format and `numbers` of NUMBERS of fp32 to work in."""


@njit(**FAST)
def finish(sums: Any, factor: Any, x: Any, weight: Any, y: Any, at: Any, step: Any) -> None:
    """A block of y at `at`, `step` numbers from row to row: factor · sums + weight · x (weight 0: x is not read)."""
    times, part = repeat(factor), repeat(weight)
    for row in range(EDGE):
        for column in range(0, EDGE, LANES):
            value, place = multiply(load(sums, row * EDGE + column), times), at + row * step + column
            if weight != 0:
                value = multiply_add(load(x, place), part, value)
            store(y, place, value)


@njit(**FAST)
def mirror(spare: Any, y: Any, row: Any, column: Any, size: Any) -> None:
    """The block of y (size, size) at (column, row) from the one at (row, column)."""
    for begin in range(row, row + EDGE, LANES):
        for end in range(column, column + EDGE, LANES):
            for i in range(LANES):
                store(spare, i * LANES, load(y, (begin + i) * size + end))
            transpose(spare, LANES, moved(spare, LANES * LANES))
            for i in range(LANES):
                store(y, (end + i) * size + begin, load(spare, (LANES + i) * LANES))


@njit(**FAST)
def symmetric(
    size: Any, depth: Any, x: Any, panels: Any, factor: Any, added: Any, weight: Any, zeros: Any, sums: Any, y: Any
) -> None:
    """y (size, size) = factor · x (size, depth) · panels + weight · added, where that is symmetric."""
    for row in range(0, size, EDGE):
        for column in range(row, size, EDGE):
            left, right = moved(x, row * depth), moved(panels, column * depth)
            product(EDGE, depth, left, depth, EDGE, right, LANES * depth, zeros, 0, sums, EDGE)
            finish(sums, factor, added, weight, y, row * size + column, size)
            if column > row:
                mirror(moved(sums, EDGE * EDGE), y, row, column, size)


@njit(**FAST)
def iterate(plan: Any, like: Any, pairs: Any) -> None:
    team = team_of(plan)
    first, last = share(plan.count, team)
    rows, columns, R, C = plan.rows, plan.columns, plan.R, plan.C
    a, b, c = np.float32(plan.a), np.float32(plan.b), np.float32(plan.c)
    formatted = moved(same_kind(plan.formatted, like), team[0] * (3 * R * R + 2 * R * C))
    gram, polynomial, gram_panels = formatted, moved(formatted, R * R), moved(formatted, 2 * R * R)
    x, panels = moved(formatted, 3 * R * R), moved(formatted, 3 * R * R + R * C)
    sums, zeros = moved(words(plan.numbers), team[0] * NUMBERS), words(plan.zeros)
    one, none = np.float32(1), np.float32(0)
    clear(x, 0, R * C)  # what is past the last row and column stays 0
    tiles.begin(like)
    for number in range(first, last):
        given = moved(same_kind(plan.batch, like), number * rows * columns)
        copy(rows, columns, given, columns, x, C)
        for _ in range(plan.iterations):
            panels_over_rows(R, C, x, pairs, panels)
            symmetric(R, C, x, panels, one, x, none, zeros, sums, gram)
            panels_over_columns(R, R, gram, gram_panels)
            symmetric(R, R, gram, gram_panels, c, gram, b, zeros, sums, polynomial)
            panels_over_columns(R, C, x, panels)
            for row in range(0, R, EDGE):
                for column in range(0, C, EDGE):
                    left, right = moved(polynomial, row * R), moved(panels, column * R)
                    product(EDGE, R, left, R, EDGE, right, LANES * R, zeros, 0, sums, EDGE)
                    finish(sums, one, x, a, x, row * C + column, C)
        copy(rows, columns, x, C, given, columns)
    tiles.end(like)


def iterate_fp32(plan: Any) -> None:
    """`plan`, here and below: the address of a record."""
    iterate(carray(plan, 1, ITERATION)[0], words(0), LANES)


def iterate_bf16(plan: Any) -> None:
    iterate(carray(plan, 1, ITERATION)[0], halves(0), 2 * LANES)
