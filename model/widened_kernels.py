"""Products of bf16 matrices for processors that multiply fp32 as fast or faster: numbers are widened as they are laid
out, multiplied and added up as fp32, and what comes out is rounded once, so that only the order of a sum differs from
what the processor's own bf16 products give.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model.compiled_products import FAST, add_wide, own_blocks, record, team_of
from model.pointers import halves, moved, words
from model.vector_tile import HIGH, WIDE
from model.vectors import LANES, add, load, store, transpose

HIGHEST, LONGEST, WIDEST = 128, 256, 512  # rows, depth and columns of what stays in the second-level cache
AHEAD = 256  # numbers between what is multiplied and what is fetched meanwhile
PRODUCT = record(
    "thread_number", "num_threads", "barrier", "M", "N", "K", "a", "a_stride", "a_turned", "b", "b_stride", "b_turned",
    "c", "c_stride", "adds", "zeros", "left", "right", "spare", "sums", "sums_stride",
)  # fmt: skip
"""c (M, N) = a (M, K) · b (K, N), or with `adds` as much more, all bf16, with so many numbers from row to row, and all
sizes multiples of 16; a and b may lie there turned, as (K, M) and (N, K). To work in, all fp32: `zeros` (32,); for each
thread `left` (HIGHEST, LONGEST), `right` (WIDEST, LONGEST) and `spare` (16, 32); where K is more than LONGEST, `sums`
(M, N). Where there is no c, the result is what `sums` holds at the end."""


@njit(**FAST)
def lay_out(x: Any, stride: Any, is_turned: Any, line: Any, begin: Any, depth: Any, spare: Any, target: Any) -> None:
    """target (depth, 16): numbers from `begin` on of 16 lines of x, which are its rows or, turned, its columns."""
    if is_turned:
        for k in range(depth):
            store(target, k * LANES, load(x, (begin + k) * stride + line))
        return
    for k in range(0, depth, LANES):
        for row in range(LANES):
            store(spare, row * LANES, load(x, (line + row) * stride + begin + k))
        transpose(spare, LANES, moved(target, k * LANES))


@njit(**FAST)
def finish(sums: Any, stride: Any, adds: Any, width: Any, y: Any, y_stride: Any) -> None:
    """y (16, width) = sums, or with `adds` as much more."""
    for row in range(LANES):
        for column in range(0, width, LANES):
            value, place = load(sums, row * stride + column), row * y_stride + column
            store(y, place, add(value, load(y, place)) if adds else value)


@njit(**FAST)
def add_block(
    plan: Any, row: Any, column: Any, stop: Any, begin: Any, depth: Any, lines: Any, panels: Any, spare: Any
) -> None:
    """What some of the depth gives to a block of 16 rows and WIDE columns, but none from `stop` on."""
    sums, stride, first, step = spare, np.int64(WIDE), words(plan.zeros), np.int64(0)
    if plan.sums != 0:
        sums, stride = moved(words(plan.sums), row * plan.sums_stride + column), plan.sums_stride
        if begin > 0 or (plan.adds != 0 and plan.c == 0):
            first, step = sums, stride
    whole = column + WIDE <= stop
    for half in range(0, LANES, HIGH):
        some, before, target = moved(lines, half), moved(first, half * step), moved(sums, half * stride)
        add_wide(whole, depth, some, 1, LANES, panels, LANES * LONGEST, AHEAD, before, step, target, stride)
    if plan.c != 0 and begin + depth == plan.K:
        y = moved(halves(plan.c), row * plan.c_stride + column)
        finish(sums, stride, plan.adds != 0, WIDE if whole else LANES, y, plan.c_stride)


@njit(**FAST)
def multiply(plan: Any) -> None:
    """What `own_blocks` says is a thread's."""
    team = team_of(plan)
    a, b = halves(plan.a), halves(plan.b)
    left = moved(words(plan.left), team[0] * HIGHEST * LONGEST)
    right = moved(words(plan.right), team[0] * WIDEST * LONGEST)
    spare = moved(words(plan.spare), team[0] * LANES * WIDE)
    rows, columns = own_blocks(plan, LANES, team)
    for start in range(columns[0] * LANES, columns[1] * LANES, WIDEST):
        stop = min(start + WIDEST, columns[1] * LANES)
        for begin in range(0, plan.K, LONGEST):
            depth = min(LONGEST, plan.K - begin)
            for column in range(start, stop, LANES):
                panel = moved(right, (column - start) * LONGEST)
                lay_out(b, plan.b_stride, plan.b_turned == 0, column, begin, depth, spare, panel)
            for top in range(rows[0] * LANES, rows[1] * LANES, HIGHEST):
                bottom = min(top + HIGHEST, rows[1] * LANES)
                for row in range(top, bottom, LANES):
                    lines = moved(left, (row - top) * LONGEST)
                    lay_out(a, plan.a_stride, plan.a_turned != 0, row, begin, depth, spare, lines)
                for column in range(start, stop, WIDE):
                    panels = moved(right, (column - start) * LONGEST)
                    for row in range(top, bottom, LANES):
                        lines = moved(left, (row - top) * LONGEST)
                        add_block(plan, row, column, stop, begin, depth, lines, panels, spare)


def multiply_bf16(plan: Any) -> None:
    """`plan`: the address of a record."""
    multiply(carray(plan, 1, PRODUCT)[0])
