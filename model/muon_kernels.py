"""What Muon does before and after it orthogonalises, as machine code: each matrix is read once and written once.

`like` is a pointer of the format in which matrices are orthogonalised, fp32 or bf16; they lie there with no more rows
than columns. A matrix is one thread's work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model.compiled_products import FAST, record, share, team_of
from model.pointers import halves, integers, moved, same_kind, words
from model.vectors import LANES, add, load, multiply, multiply_add, repeat, store, subtract, total, transpose

SCRATCH = 2 * LANES * LANES  # numbers of fp32 that each thread works in
MATRICES = record(
    "thread_number", "num_threads", "barrier", "count", "rows", "columns", "parameters", "gradients", "buffers",
    "batch", "scratch", numbers=("momentum", "kept", "size", "epsilon"),
)  # fmt: skip
"""`count` matrices (rows, columns), multiples of 16. parameters, gradients, buffers: addresses of so many addresses.
batch: (count, rows, columns), or (count, columns, rows) where there are more rows."""


@njit(**FAST)
def direction(gradient: Any, buffer: Any, at: Any, momentum: Any) -> Any:
    """gradient + momentum · (buffer - gradient)."""
    given = load(gradient, at)
    return multiply_add(subtract(load(buffer, at), given), momentum, given)


@njit(**FAST)
def gather(matrices: Any, like: Any) -> None:
    """Moves each buffer towards its gradient, and fills the batch with directions of norm 1."""
    team = team_of(matrices)
    first, last = share(matrices.count, team)
    rows, columns = matrices.rows, matrices.columns
    momentum, taken = repeat(np.float32(matrices.momentum)), repeat(np.float32(1 - matrices.momentum))
    block = moved(words(matrices.scratch), team[0] * SCRATCH)
    turned = moved(block, LANES * LANES)
    for number in range(first, last):
        gradient, buffer = words(integers(matrices.gradients)[number]), words(integers(matrices.buffers)[number])
        target = moved(same_kind(matrices.batch, like), number * rows * columns)
        squares = repeat(np.float32(0))
        for at in range(0, rows * columns, LANES):
            before = load(buffer, at)
            store(buffer, at, multiply_add(subtract(load(gradient, at), before), taken, before))
            value = direction(gradient, buffer, at, momentum)
            squares = multiply_add(value, value, squares)
        factor = repeat(np.float32(1 / max(np.sqrt(total(squares)), np.float32(matrices.epsilon))))
        if rows <= columns:
            for at in range(0, rows * columns, LANES):
                store(target, at, multiply(direction(gradient, buffer, at, momentum), factor))
            continue
        for row in range(0, rows, LANES):
            for column in range(0, columns, LANES):
                for i in range(LANES):
                    value = direction(gradient, buffer, (row + i) * columns + column, momentum)
                    store(block, i * LANES, multiply(value, factor))
                transpose(block, LANES, turned)
                for i in range(LANES):
                    store(target, (column + i) * rows + row, load(turned, i * LANES))


@njit(**FAST)
def apply(matrices: Any, like: Any) -> None:
    """parameter = kept · parameter + size · what the batch holds for it."""
    team = team_of(matrices)
    first, last = share(matrices.count, team)
    rows, columns = matrices.rows, matrices.columns
    kept, size = repeat(np.float32(matrices.kept)), repeat(np.float32(matrices.size))
    block = moved(words(matrices.scratch), team[0] * SCRATCH)
    turned = moved(block, LANES * LANES)
    for number in range(first, last):
        parameter = words(integers(matrices.parameters)[number])
        source = moved(same_kind(matrices.batch, like), number * rows * columns)
        if rows <= columns:
            for at in range(0, rows * columns, LANES):
                store(parameter, at, add(multiply(load(parameter, at), kept), multiply(load(source, at), size)))
            continue
        for row in range(0, rows, LANES):
            for column in range(0, columns, LANES):
                for i in range(LANES):
                    store(block, i * LANES, load(source, (column + i) * rows + row))
                transpose(block, LANES, turned)
                for i in range(LANES):
                    at = (row + i) * columns + column
                    change = multiply(load(turned, i * LANES), size)
                    store(parameter, at, add(multiply(load(parameter, at), kept), change))


def gather_fp32(plan: Any) -> None:
    """`plan`, here and below: the address of a record."""
    gather(carray(plan, 1, MATRICES)[0], words(0))


def gather_bf16(plan: Any) -> None:
    gather(carray(plan, 1, MATRICES)[0], halves(0))


def apply_fp32(plan: Any) -> None:
    apply(carray(plan, 1, MATRICES)[0], words(0))


def apply_bf16(plan: Any) -> None:
    apply(carray(plan, 1, MATRICES)[0], halves(0))
