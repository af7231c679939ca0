"""A decode step as machine code: what compiled_decoding.py has all threads run together, compiled by numba.

Each thread does its share of the rows, heads or columns, and they wait for each other in between. A number is computed
by one thread and in one order, so that it depends neither on how many threads there are nor on how many rows.

Two formats: fp32, and bf16 for matrices, what they are multiplied by, and the cache; sums are fp32. Matrices lie as
compiled_products.py says; keys are such a matrix (S, D), values the matrix (D, S). `like` below is a pointer of the
format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model import tiles
from model.compiled_products import (
    FAST,
    PRODUCT,
    columns,
    multiply_panels,
    place,
    record,
    run_product,
    share,
    team_of,
    wait,
)
from model.pointers import anything, fetch, halves, integers, moved, same_kind, words
from model.vectors import (
    LANES,
    add,
    divide,
    exp,
    larger,
    largest,
    load,
    multiply,
    multiply_add,
    repeat,
    store,
    swap_neighbours,
    total,
)

ZERO, ONE = np.float32(0), np.float32(1)


STEP = record(
    "thread_number", "num_threads", "barrier", "num_layers", "layers", "B", "C", "H", "G", "D", "F", "V", "S", "length",
    "tokens", "padding", "embedding", "cos", "sin", "head", "zeros", "x", "unit", "qkv", "attended", "gate_up", "gated",
    "logits", "scratch", numbers=("eps",),
)  # fmt: skip
"""What a step reads and writes. Capitals are sizes (S: positions that the cache has room for, V: columns of the
logits, a multiple of 16). `thread_number`, `num_threads` and `barrier` are functions of OpenMP, 0 for one thread alone.
Other names are of addresses. cos and sin: (P, D), each of a pair's twice, and the first sine negative. zeros: as many
as the widest product has columns. For each thread: unit (B, C), and scratch of 2·H/G·(S + D) numbers of fp32."""

LAYER = record("qkv", "qkv_bias", "out", "out_bias", "gate_up", "down", "qk_norm", "window", "keys", "values")
"""Addresses of a layer's weights and cache (0: there is none), and how many positions it sees (0: all)."""


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
    tiles.begin(like)
    layers = carray(anything(step.layers), step.num_layers, LAYER)
    for number in range(step.num_layers):
        run_layer(step, layers[number], team, like, step.scratch + team[0] * scratch_size)
    unit, head, zeros = normalise(step, team, like), same_kind(step.head, like), words(step.zeros)
    first, last = share(step.V // LANES, team)
    multiply_panels(first, last, step.B, unit, step.C, head, zeros, 0, words(step.logits), step.V)
    tiles.end(like)


def step_fp32(plan: Any) -> None:
    """`plan`, here and below: the address of a record."""
    run_step(carray(plan, 1, STEP)[0], words(0))


def step_bf16(plan: Any) -> None:
    run_step(carray(plan, 1, STEP)[0], halves(0))


def product_fp32(plan: Any) -> None:
    run_product(carray(plan, 1, PRODUCT)[0], words(0))


def product_bf16(plan: Any) -> None:
    run_product(carray(plan, 1, PRODUCT)[0], halves(0))
