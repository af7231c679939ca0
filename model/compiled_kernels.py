"""A decode step as machine code: what compiled_decoding.py has all threads run together, compiled by numba.

Each thread does its share of the rows, heads or columns, and they wait for each other in between. A number is computed
by one thread and in one order, so that it depends neither on how many threads there are nor on how many rows.

Two formats: fp32, and bf16 for matrices, what they are multiplied by, and the cache; sums are fp32. A matrix (N, K)
lies in panels of 16 columns of its transpose: (N/16, K, 16), in bf16 (N/16, K/2, 16, 2), since there the processor
multiplies two neighbours at once. Keys are such a matrix (S, D), values the matrix (D, S). `like` below is a pointer
of the format.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from model import vectors
from model.vectors import (
    LANES,
    add,
    anything,
    call,
    divide,
    exp,
    fetch,
    halves,
    integers,
    is_pairs,
    larger,
    largest,
    load,
    moved,
    multiply,
    multiply_add,
    repeat,
    same_kind,
    store,
    swap_neighbours,
    tile,
    total,
    words,
)

TILE = 16  # rows of a product whose sums are held in registers together, of which there are 32
BLOCK = 128  # rows of a product that go through all columns together, so that they stay in the second-level cache
AHEAD = 768  # numbers between what is multiplied and what is fetched meanwhile: a quarter of the time of 16 rows
ZERO, ONE = np.float32(0), np.float32(1)


def _record(*names: str, numbers: tuple[str, ...] = ()) -> np.dtype[Any]:
    return np.dtype([*((name, np.int64) for name in names), *((name, np.float64) for name in numbers)])


PRODUCT = _record(
    "thread_number", "num_threads", "barrier", "rows", "depth", "width", "x", "panels", "initial", "stride", "y"
)
"""y (rows, width) = initial + x (rows, depth) · matrix. stride: between the rows of `initial`, 0 where all are one."""

STEP = _record(
    "thread_number", "num_threads", "barrier", "num_layers", "layers", "B", "C", "H", "G", "D", "F", "V", "S", "length",
    "tokens", "padding", "embedding", "cos", "sin", "head", "zeros", "x", "unit", "qkv", "attended", "gate_up", "gated",
    "logits", "scratch", numbers=("eps",),
)  # fmt: skip
"""What a step reads and writes. Capitals are sizes (S: positions that the cache has room for, V: columns of the
logits, a multiple of 16). `thread_number`, `num_threads` and `barrier` are functions of OpenMP, 0 for one thread alone.
Other names are of addresses. cos and sin: (P, D), each of a pair's twice, and the first sine negative. zeros: as many
as the widest product has columns. For each thread: unit (B, C), and scratch of 2·H/G·(S + D) numbers of fp32."""

LAYER = _record("qkv", "qkv_bias", "out", "out_bias", "gate_up", "down", "qk_norm", "window", "keys", "values")
"""Addresses of a layer's weights and cache (0: there is none), and how many positions it sees (0: all)."""

FAST = {"nogil": True, "error_model": "numpy"}


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
def columns(
    rows: Any, depth: Any, x: Any, step: Any, panel: Any, ahead: Any, first: Any, first_step: Any, y: Any, y_step: Any
) -> None:
    """`tile` of any number of rows: y = first + x · panel, with `step` numbers from row to row."""
    row = 0
    while row < rows:
        left, xs = rows - row, moved(x, row * step)
        begin, ys = moved(first, row * first_step), moved(y, row * y_step)
        if left >= TILE:
            tile(TILE, depth, xs, step, panel, ahead, begin, first_step, ys, y_step)
            row += TILE
        elif left >= 4:
            tile(4, depth, xs, step, panel, ahead, begin, first_step, ys, y_step)
            row += 4
        elif left >= 2:
            tile(2, depth, xs, step, panel, ahead, begin, first_step, ys, y_step)
            row += 2
        else:
            tile(1, depth, xs, step, panel, ahead, begin, first_step, ys, y_step)
            row += 1


@njit(**FAST)
def multiply_panels(
    first: Any, last: Any, rows: Any, x: Any, depth: Any, panels: Any, initial: Any, step: Any, y: Any, width: Any
) -> None:
    """y (rows, width) = initial + x (rows, depth) · matrix, in the panels from `first` to before `last`. step: between
    the rows of `initial`, 0 where all are one."""
    for row in range(0, rows, BLOCK):
        for panel in range(first, last):
            at = LANES * panel
            columns(
                min(BLOCK, rows - row), depth, moved(x, row * depth), depth, moved(panels, at * depth), AHEAD,
                moved(initial, row * step + at), step, moved(y, row * width + at), width,
            )  # fmt: skip


@njit(**FAST)
def place(like: Any, depth: Any, column: Any, number: Any) -> Any:
    """Where in its panels a matrix of this depth holds a number of a column."""
    if is_pairs(like):
        return column // LANES * LANES * depth + (number // 2 * LANES + column % LANES) * 2 + number % 2
    return (column // LANES * depth + number) * LANES + column % LANES


@njit(**FAST)
def turn(qkv: Any, at: Any, D: Any, norm: Any, eps: Any, cos: Any, sin: Any, position: Any, turned: Any) -> None:
    """A head of queries or keys (D,), normalised where `norm` is the address of weights, turned by its position."""
    factor = repeat(ONE)
    if norm != 0:
        squares = repeat(ZERO)
        for i in range(0, D, LANES):
            value = load(qkv, at + i)
            squares = multiply_add(value, value, squares)
        factor = repeat(np.float32(1 / np.sqrt(total(squares) / D + eps)))
    for i in range(0, D, LANES):
        value = load(qkv, at + i)
        if norm != 0:
            value = multiply(multiply(value, factor), load(words(norm), i))
        across = multiply(swap_neighbours(value), load(sin, position * D + i))
        store(turned, i, multiply_add(value, load(cos, position * D + i), across))


@njit(**FAST)
def attend(step: Any, layer: Any, like: Any, item: Any, scratch: Any) -> None:
    """Appends key and value of one group of a row to the cache; then the group's queries look at what is there."""
    H, G, D, S = step.H, step.G, step.D, step.S
    b, g, heads, end = item // G, item % G, H // G, step.length + 1
    cos, sin, qkv, first = words(step.cos), words(step.sin), words(step.qkv), b * (H + 2 * G)
    keys, values = moved(same_kind(layer.keys, like), item * S * D), moved(same_kind(layer.values, like), item * S * D)
    zeros = words(step.zeros)
    padding = integers(step.padding)[b]
    scores, rest = words(scratch), scratch + 4 * heads * S
    sums, new = words(rest), same_kind(rest, like)  # a new key or value stands where sums will
    odds, queries = same_kind(rest + 4 * heads * D, like), same_kind(rest + 4 * heads * (D + S), like)
    for head in range(heads + 1):
        number = g * heads + head if head < heads else H + g  # the group's queries, then its key
        norm = layer.qk_norm + 4 * number * D if layer.qk_norm != 0 else 0
        turned = moved(queries, head * D) if head < heads else new
        turn(qkv, (first + number) * D, D, norm, step.eps, cos, sin, step.length - padding, turned)
    for i in range(D):
        keys[place(like, D, step.length, i)] = new[i]
    for i in range(0, D, LANES):
        store(new, i, load(qkv, (first + H + G + g) * D + i))
    for i in range(D):
        values[place(like, S, i, step.length)] = new[i]

    seen = padding if layer.window == 0 else max(padding, end - layer.window)
    begin, stop = seen // LANES * LANES, -(-end // LANES) * LANES  # whole vectors
    for block in range(begin, stop, LANES):
        for i in range(D):  # the values, and the keys of the next group
            fetch(values, i // LANES * LANES * S + (block + i % LANES) * LANES)
            fetch(keys, (S + block) * D + i * LANES)
        columns(heads, D, queries, D, moved(keys, block * D), 0, zeros, 0, moved(scores, block), S)
    for head in range(heads):
        row = head * S
        for position in range(begin, seen):
            scores[row + position] = -np.inf
        for position in range(end, stop):
            scores[row + position] = -np.inf
        highest = load(scores, row + begin)
        for block in range(begin + LANES, stop, LANES):
            highest = larger(highest, load(scores, row + block))
        lower, odds_sum = repeat(-largest(highest)), repeat(ZERO)
        for block in range(begin, stop, LANES):
            weight = exp(add(load(scores, row + block), lower))
            odds_sum = add(odds_sum, weight)
            store(odds, row + block, weight)
        scores[row] = total(odds_sum)
    depth = end + end % 2 - begin  # pairs of positions
    for i in range(0, D, LANES):
        panel = moved(values, i * S + begin * LANES)
        columns(heads, depth, moved(odds, begin), S, panel, 0, zeros, 0, moved(sums, i), D)
    for head in range(heads):
        whole, target = repeat(scores[head * S]), ((b * G + g) * heads + head) * D
        for i in range(0, D, LANES):
            store(same_kind(step.attended, like), target + i, divide(load(sums, head * D + i), whole))


@njit(**FAST)
def normalise(step: Any, team: Any, like: Any) -> Any:
    """The rows of the stream made rows of length 1, below by the norm's eps: (B, C) in the format, and this thread's
    own. Each does all: waiting for the others' share would take longer."""
    x, unit = words(step.x), moved(same_kind(step.unit, like), team[0] * step.B * step.C)
    for at in range(0, step.B * step.C, step.C):
        squares = repeat(ZERO)
        for i in range(at, at + step.C, LANES):
            value = load(x, i)
            squares = multiply_add(value, value, squares)
        factor = repeat(np.float32(1 / np.sqrt(total(squares) + step.C * step.eps)))
        for i in range(at, at + step.C, LANES):
            store(unit, i, multiply(load(x, i), factor))
    return unit


@njit(**FAST)
def gate(step: Any, first: Any, last: Any, like: Any) -> None:
    """silu(gate) · up in some columns of all rows."""
    gate_up, one, minus = words(step.gate_up), repeat(ONE), repeat(np.float32(-1))
    for row in range(step.B):
        for i in range(first, last, LANES):
            gated = load(gate_up, row * 2 * step.F + i)
            up = load(gate_up, row * 2 * step.F + step.F + i)
            value = divide(multiply(gated, up), add(one, exp(multiply(gated, minus))))
            store(same_kind(step.gated, like), row * step.F + i, value)


@njit(**FAST)
def add_to_all_rows(step: Any, bias: Any, first: Any, last: Any) -> None:
    """Adds a bias, where there is one, to the rows of the stream in some columns."""
    if bias == 0:
        return
    x = words(step.x)
    for row in range(step.B):
        for i in range(first, last, LANES):
            store(x, row * step.C + i, add(load(x, row * step.C + i), load(words(bias), i)))


@njit(**FAST)
def run_layer(step: Any, layer: Any, team: Any, like: Any, scratch: Any) -> None:
    """A layer, from a stream that is complete to one that is so again."""
    B, C, F = step.B, step.C, step.F
    heads, width = step.H * step.D, (step.H + 2 * step.G) * step.D
    x, zeros, gate_up = words(step.x), words(step.zeros), words(step.gate_up)

    unit = normalise(step, team, like)
    first, last = share(width // LANES, team)
    initial = words(layer.qkv_bias) if layer.qkv_bias != 0 else zeros
    multiply_panels(first, last, B, unit, C, same_kind(layer.qkv, like), initial, 0, words(step.qkv), width)
    wait(step)
    first, last = share(B * step.G, team)
    for item in range(first, last):
        attend(step, layer, like, item, scratch)
    wait(step)
    first, last = share(C // LANES, team)
    add_to_all_rows(step, layer.out_bias, first * LANES, last * LANES)
    attended = same_kind(step.attended, like)
    multiply_panels(first, last, B, attended, heads, same_kind(layer.out, like), x, C, x, C)
    wait(step)
    unit = normalise(step, team, like)
    first, last = share(F // LANES, team)
    for half in (0, F // LANES):
        panels = same_kind(layer.gate_up, like)
        multiply_panels(half + first, half + last, B, unit, C, panels, zeros, 0, gate_up, 2 * F)
    gate(step, first * LANES, last * LANES, like)
    wait(step)
    first, last = share(C // LANES, team)
    multiply_panels(first, last, B, same_kind(step.gated, like), F, same_kind(layer.down, like), x, C, x, C)
    wait(step)


@njit(**FAST)
def run_step(step: Any, like: Any) -> None:
    """Logits after one more token of each row."""
    team, scratch_size = team_of(step), 8 * step.H // step.G * (step.S + step.D)
    first, last = share(step.B, team)
    x, embedding = words(step.x), words(step.embedding)
    for row in range(first, last):
        token = integers(step.tokens)[row]
        for i in range(0, step.C, LANES):
            store(x, row * step.C + i, load(embedding, token * step.C + i))
    wait(step)
    layers = carray(anything(step.layers), step.num_layers, LAYER)
    for number in range(step.num_layers):
        run_layer(step, layers[number], team, like, step.scratch + team[0] * scratch_size)
    unit, head, zeros = normalise(step, team, like), same_kind(step.head, like), words(step.zeros)
    first, last = share(step.V // LANES, team)
    multiply_panels(first, last, step.B, unit, step.C, head, zeros, 0, words(step.logits), step.V)


@njit(**FAST)
def run_product(product: Any, like: Any) -> None:
    """A product by itself."""
    first, last = share(product.width // LANES, team_of(product))
    multiply_panels(
        first, last, product.rows, same_kind(product.x, like), product.depth, same_kind(product.panels, like),
        words(product.initial), product.stride, words(product.y), product.width,
    )  # fmt: skip


def step_fp32(plan: Any) -> None:
    """`plan`, here and below: the address of a record."""
    run_step(carray(plan, 1, STEP)[0], words(0))


def step_bf16(plan: Any) -> None:
    run_step(carray(plan, 1, STEP)[0], halves(0))


def product_fp32(plan: Any) -> None:
    run_product(carray(plan, 1, PRODUCT)[0], words(0))


def product_bf16(plan: Any) -> None:
    run_product(carray(plan, 1, PRODUCT)[0], halves(0))


@cache
def machine_code(function: Callable[[Any], None]) -> Any:
    """One of these four functions with its `address`, compiled, or loaded from where numba keeps machine code: in
    __pycache__ here, else in the user's folder for such things.

    There numba looks whether this file has changed, but not whether vectors.py has, so that stands in the name.
    """
    changes = hashlib.sha256(inspect.getsource(vectors).encode()).hexdigest()[:16]
    function.__qualname__ = f"{function.__name__}_{changes}"
    kind = types.void(types.voidptr)
    try:
        return cfunc(kind, cache=True)(function)
    except RuntimeError:  # no such folder can be written
        return cfunc(kind)(function)
