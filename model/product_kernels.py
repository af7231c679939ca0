"""Products of fp32 matrices on the processor's matrix unit (tiles.py), which multiplies bf16 alone, but ten times as
fast as the processor does fp32.

A number of fp32 is the sum of three of bf16, each what the ones before leave of it. Of the nine products of the parts
of two numbers, six are made and added up in fp32; the others are less than its rounding (Henry et al. 2019, Leveraging
the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations, arXiv 1904.06376). The unit takes what
is below 2⁻¹²⁶ for zero, so that parts of numbers below 10⁻³³ get lost; an infinite number gives NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model import tiles
from model.compiled_products import FAST, own_blocks, record, team_of
from model.layouts import clear
from model.pointers import halves, moved, words
from model.tiles import DEPTH, NUMBERS, PARTS
from model.vectors import LANES, load, load_one, store, store_two, subtract, transpose

ZERO = np.float32(0)
EDGE = 2 * LANES  # rows and columns of what is computed at once
HIGHEST, WIDEST, LONGEST = 64, 256, 512  # rows, columns and depth that stay in the second-level cache
PASS = 2048  # columns that are laid out at once
PRODUCT = record(
    "thread_number", "num_threads", "barrier", "M", "N", "K", "depth", "columns", "a", "a_stride", "a_turned", "b",
    "b_stride", "b_turned", "c", "c_stride", "adds", "left", "right", "edges", "parts",
)  # fmt: skip
"""c (M, N) = a (M, K) · b (K, N), or with `adds` as much more, all fp32, with so many numbers from row to row; a and b
may lie there turned, as (K, M) and (N, K). To work in, for each thread: `left` (PARTS, HIGHEST, depth) and `right`
(PARTS, columns, depth) of bf16, with depth and columns K and N rounded up to multiples of 32, but LONGEST and PASS at
most; `edges` (32, 32) of fp32; `parts` (PARTS, 16, 32) of bf16."""


@njit(**FAST)
def split(x: Any, at: Any, parts: Any, place: Any) -> None:
    """16 numbers in parts."""
    value = load(x, at)
    store(parts, place, value)
    value = subtract(value, load(parts, place))
    store(parts, NUMBERS + place, value)
    store(parts, 2 * NUMBERS + place, subtract(value, load(parts, NUMBERS + place)))


@njit(**FAST)
def split_two(x: Any, at: Any, other: Any, parts: Any, place: Any) -> None:
    """16 numbers and 16 others in parts, as pairs."""
    a, b = load(x, at), load(x, other)
    store_two(parts, place, a, b)
    a, b = subtract(a, load_one(parts, place, 0)), subtract(b, load_one(parts, place, 1))
    store_two(parts, NUMBERS + place, a, b)
    a, b = subtract(a, load_one(parts, NUMBERS + place, 0)), subtract(b, load_one(parts, NUMBERS + place, 1))
    store_two(parts, 2 * NUMBERS + place, a, b)


@njit(**FAST)
def cut_out(x: Any, stride: Any, rows: Any, columns: Any, y: Any) -> None:
    """y (32, 32) = x (rows, columns), and zeros."""
    clear(y, 0, EDGE * EDGE)
    for row in range(rows):
        for column in range(columns):
            y[row * EDGE + column] = x[row * stride + column]


@njit(**FAST)
def lay_out(
    x: Any, stride: Any, is_turned: Any, width: Any, first: Any, last: Any, begin: Any, end: Any, is_left: Any,
    edges: Any, parts: Any, target: Any,
) -> None:  # fmt: skip
    """Blocks `first` to before `last` of 16 rows of a left factor, or columns of a right one, as `add_split_blocks`
    takes them, from the depth `begin` on to before `end`. x: (width, …), or turned."""
    count = -(-(end - begin) // DEPTH)
    for block in range(first, last):
        for number in range(count):
            row, k = block * LANES, begin + number * DEPTH
            here = moved(target, ((block - first) * count + number) * PARTS * NUMBERS)
            rows, columns = min(LANES, width - row), min(DEPTH, end - k)
            source, source_stride = moved(x, k * stride + row if is_turned else row * stride + k), stride
            if rows < LANES or columns < DEPTH:
                if is_turned:
                    rows, columns = columns, rows
                cut_out(source, stride, rows, columns, edges)
                source, source_stride = edges, EDGE
            made = here if is_turned != is_left else parts
            if is_turned:  # neighbours in the depth lie in different rows
                for i in range(0, DEPTH, 2):
                    split_two(source, i * source_stride, (i + 1) * source_stride, made, i * LANES)
            else:
                for i in range(LANES):
                    split(source, i * source_stride, made, i * DEPTH)
                    split(source, i * source_stride + LANES, made, i * DEPTH + LANES)
            if is_turned == is_left:
                for part in range(0, PARTS * NUMBERS, NUMBERS):
                    transpose(moved(parts, part), DEPTH, moved(here, part))


@njit(**FAST)
def add_to_edge(sums: Any, rows: Any, columns: Any, adds: Any, y: Any, stride: Any) -> None:
    """y (rows, columns) = sums (32, 32), or with `adds` as much more."""
    for row in range(rows):
        for column in range(columns):
            before = y[row * stride + column] if adds else ZERO
            y[row * stride + column] = before + sums[row * EDGE + column]


@njit(**FAST)
def multiply_blocks(
    plan: Any, rows: Any, columns: Any, count: Any, adds: Any, left: Any, right: Any, edges: Any
) -> None:
    """All blocks of 32 rows and 32 columns between these, from factors that are laid out."""
    step = count * PARTS * NUMBERS * 2
    for first in range(columns[0], columns[1], WIDEST // EDGE):
        for row in range(rows[0], rows[1]):
            for column in range(first, min(first + WIDEST // EDGE, columns[1])):
                lefts, rights = moved(left, (row - rows[0]) * step), moved(right, (column - columns[0]) * step)
                height, width = min(EDGE, plan.M - row * EDGE), min(EDGE, plan.N - column * EDGE)
                y = moved(words(plan.c), row * EDGE * plan.c_stride + column * EDGE)
                if height == EDGE and width == EDGE:
                    tiles.add_split_blocks(count, lefts, rights, adds, y, plan.c_stride)
                else:
                    tiles.add_split_blocks(count, lefts, rights, 0, edges, EDGE)
                    add_to_edge(edges, height, width, adds, y, plan.c_stride)


@njit(**FAST)
def multiply(plan: Any) -> None:
    """A thread lays out all that it needs of both factors for its blocks: to take what another thread has just written
    takes longer."""
    team = team_of(plan)
    a, b = words(plan.a), words(plan.b)
    left = moved(halves(plan.left), team[0] * PARTS * HIGHEST * plan.depth)
    right = moved(halves(plan.right), team[0] * PARTS * plan.columns * plan.depth)
    edges = moved(words(plan.edges), team[0] * EDGE * EDGE)
    parts = moved(halves(plan.parts), team[0] * PARTS * NUMBERS)
    own, columns = own_blocks(plan, EDGE, team)
    tiles.begin(halves(0))
    for begin in range(0, plan.K, LONGEST):
        end = min(begin + LONGEST, plan.K)
        count, adds = -(-(end - begin) // DEPTH), np.int64(plan.adds != 0 or begin > 0)
        for start in range(columns[0], columns[1], PASS // EDGE):
            stop = min(start + PASS // EDGE, columns[1])
            lay_out(
                b,
                plan.b_stride,
                plan.b_turned == 0,
                plan.N,
                2 * start,
                2 * stop,
                begin,
                end,
                False,
                edges,
                parts,
                right,
            )
            for top in range(own[0], own[1], HIGHEST // EDGE):
                bottom = min(top + HIGHEST // EDGE, own[1])
                lay_out(
                    a, plan.a_stride, plan.a_turned != 0, plan.M, 2 * top, 2 * bottom, begin, end, True, edges, parts,
                    left,
                )  # fmt: skip
                multiply_blocks(plan, (top, bottom), (start, stop), count, adds, left, right, edges)
    tiles.end(halves(0))


def multiply_fp32(plan: Any) -> None:
    """`plan`: the address of a record."""
    multiply(carray(plan, 1, PRODUCT)[0])
