"""Matrix products as machine code, and how threads share work: the ground that compiled_kernels.py stands on.

A matrix (N, K) lies in panels of 16 columns of its transpose: (N/16, K, 16), in bf16 (N/16, K/2, 16, 2), since there
the processor multiplies two neighbours at once. `like` is a pointer of the format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from model import tiles
from model.pointers import call, is_pairs, moved, same_kind, words
from model.vector_tile import HIGH, PANELS, TALL, tile
from model.vectors import LANES

BLOCK = 128  # rows of a product that go through all columns together, so that they stay in the second-level cache
AHEAD = 768  # numbers between what is multiplied and what is fetched meanwhile: a quarter of the time of 16 rows
FAST = {"nogil": True, "error_model": "numpy"}


def record(*names: str, numbers: tuple[str, ...] = ()) -> np.dtype[Any]:
    """A record of int64 and, last, of float64."""
    return np.dtype([*((name, np.int64) for name in names), *((name, np.float64) for name in numbers)])


PRODUCT = record(
    "thread_number", "num_threads", "barrier", "rows", "depth", "width", "x", "panels", "initial", "stride", "y"
)
"""y (rows, width) = initial + x (rows, depth) · matrix. stride: between the rows of `initial`, 0 where all are one."""


@njit(**FAST)
def team_of(step: Any) -> Any:
    """Which of the threads this is, and how many there are: OpenMP may give fewer than were asked for."""
    if step.barrier == 0:
        return np.int64(0), np.int64(1)
    return np.int64(call(step.thread_number)), np.int64(call(step.num_threads))


@njit(**FAST)
def share(count: Any, team: Any) -> Any:
    """The first of `count` things that this thread works on, and the first of the next thread's."""
    thread, threads = team
    return count * thread // threads, count * (thread + 1) // threads


@njit(**FAST)
def wait(step: Any) -> None:
    """Until all threads are here."""
    if step.barrier != 0:
        call(step.barrier)


@njit(**FAST)
def add_up_to_four(
    high: Any, wide: Any, depth: Any, x: Any, x_stride: Any, panels: Any, apart: Any, initial: Any,
    initial_stride: Any, y: Any, y_stride: Any,
) -> None:  # fmt: skip
    """`tiles.add_blocks` of two blocks of rows if `high`, else one, and of two of columns if `wide`."""
    if high and wide:
        tiles.add_blocks(2, 2, depth, x, x_stride, panels, apart, initial, initial_stride, y, y_stride)
    elif high:
        tiles.add_blocks(2, 1, depth, x, x_stride, panels, apart, initial, initial_stride, y, y_stride)
    elif wide:
        tiles.add_blocks(1, 2, depth, x, x_stride, panels, apart, initial, initial_stride, y, y_stride)
    else:
        tiles.add_blocks(1, 1, depth, x, x_stride, panels, apart, initial, initial_stride, y, y_stride)


@njit(**FAST)
def add_wide(
    wide: Any, depth: Any, x: Any, x_stride: Any, x_next: Any, panels: Any, apart: Any, ahead: Any, initial: Any,
    initial_stride: Any, y: Any, y_stride: Any,
) -> None:  # fmt: skip
    """`tile` of HIGH rows, and of PANELS panels if `wide`, else one."""
    if wide:
        tile(HIGH, PANELS, depth, x, x_stride, x_next, panels, apart, ahead, initial, initial_stride, y, y_stride)
    else:
        tile(HIGH, 1, depth, x, x_stride, x_next, panels, apart, ahead, initial, initial_stride, y, y_stride)


@njit(**FAST)
def own_blocks(plan: Any, edge: Any, team: Any) -> Any:
    """The first and last of the rows and of the columns of a product (M, N), in blocks of `edge`, that a thread makes:
    its own rows, or its own columns where there are more of them."""
    rows, columns = (np.int64(0), -(-plan.M // edge)), (np.int64(0), -(-plan.N // edge))
    if plan.M >= plan.N:
        return share(rows[1], team), columns
    return rows, share(columns[1], team)


@njit(**FAST)
def columns(
    rows: Any, depth: Any, x: Any, step: Any, panel: Any, ahead: Any, first: Any, first_step: Any, y: Any, y_step: Any
) -> None:
    """`tile` of any number of rows: y = first + x · panel, with `step` numbers from row to row."""
    row = 0
    while row < rows:
        left, xs = rows - row, moved(x, row * step)
        begin, ys = moved(first, row * first_step), moved(y, row * y_step)
        if left >= TALL:
            tile(TALL, 1, depth, xs, step, 1, panel, 0, ahead, begin, first_step, ys, y_step)
            row += TALL
        elif left >= 4:
            tile(4, 1, depth, xs, step, 1, panel, 0, ahead, begin, first_step, ys, y_step)
            row += 4
        elif left >= 2:
            tile(2, 1, depth, xs, step, 1, panel, 0, ahead, begin, first_step, ys, y_step)
            row += 2
        else:
            tile(1, 1, depth, xs, step, 1, panel, 0, ahead, begin, first_step, ys, y_step)
            row += 1


@njit(**FAST)
def by_vectors(
    first: Any, last: Any, rows: Any, x: Any, depth: Any, panels: Any, initial: Any, step: Any, y: Any, width: Any
) -> None:
    """See `multiply_panels`."""
    for start in range(0, rows, BLOCK):
        stop = min(start + BLOCK, rows)
        several = stop - start > TALL  # else the panels' own way through memory is what takes time
        even = (last - first) // PANELS * PANELS if several else 0
        whole = (stop - start) // HIGH * HIGH
        for panel in range(first, first + even, PANELS):
            at = LANES * panel
            for row in range(start, start + whole, HIGH):
                tile(
                    HIGH, PANELS, depth, moved(x, row * depth), depth, 1, moved(panels, at * depth), LANES * depth,
                    AHEAD, moved(initial, row * step + at), step, moved(y, row * width + at), width,
                )  # fmt: skip
        for panel in range(first, last):
            row = start if panel >= first + even else start + whole
            at = LANES * panel
            columns(
                stop - row, depth, moved(x, row * depth), depth, moved(panels, at * depth), AHEAD,
                moved(initial, row * step + at), step, moved(y, row * width + at), width,
            )  # fmt: skip


def multiply_panels(
    first: Any, last: Any, rows: Any, x: Any, depth: Any, panels: Any, initial: Any, step: Any, y: Any, width: Any
) -> None:
    """y (rows, width) = initial + x (rows, depth) · matrix, in the panels from `first` to before `last`. step: between
    the rows of `initial`, 0 where all are one. On the matrix unit up to 15 rows more are read and written, so that
    those of a product are made alike however many they are. For compiled code alone."""
    raise NotImplementedError


@overload(multiply_panels)
def _multiply_panels(
    first: Any, last: Any, rows: Any, x: Any, depth: Any, panels: Any, initial: Any, step: Any, y: Any, width: Any
) -> Any:
    def by_tiles(
        first: Any, last: Any, rows: Any, x: Any, depth: Any, panels: Any, initial: Any, step: Any, y: Any, width: Any
    ) -> None:
        most = depth // tiles.DEPTH * tiles.DEPTH
        for start in range(0, rows, BLOCK):
            stop = min(start + BLOCK, rows)
            for panel in range(first, last, 2):
                at = LANES * panel
                for row in range(start, stop, 2 * LANES):
                    add_up_to_four(
                        row + LANES < stop, panel + 1 < last, most, moved(x, row * depth), depth,
                        moved(panels, at * depth), LANES * depth, moved(initial, row * step + at), step,
                        moved(y, row * width + at), width,
                    )  # fmt: skip
        if most < depth:
            for panel in range(first, last):
                at = LANES * panel
                rest, place = moved(panels, at * depth + most * LANES), moved(y, at)
                columns(rows, depth - most, moved(x, most), depth, rest, 0, place, width, place, width)

    def plain(
        first: Any, last: Any, rows: Any, x: Any, depth: Any, panels: Any, initial: Any, step: Any, y: Any, width: Any
    ) -> None:
        by_vectors(first, last, rows, x, depth, panels, initial, step, y, width)

    return by_tiles if tiles.multiplies(x) else plain


@njit(**FAST)
def place(like: Any, depth: Any, column: Any, number: Any) -> Any:
    """Where in its panels a matrix of this depth holds a number of a column."""
    if is_pairs(like):
        return column // LANES * LANES * depth + (number // 2 * LANES + column % LANES) * 2 + number % 2
    return (column // LANES * depth + number) * LANES + column % LANES


@njit(**FAST)
def run_product(product: Any, like: Any) -> None:
    """A product by itself."""
    first, last = share(product.width // LANES, team_of(product))
    tiles.begin(like)
    multiply_panels(
        first, last, product.rows, same_kind(product.x, like), product.depth, same_kind(product.panels, like),
        words(product.initial), product.stride, words(product.y), product.width,
    )  # fmt: skip
    tiles.end(like)
