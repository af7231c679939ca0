"""Causal attention and its derivative as machine code, from projected queries, keys and values to what is attended.

A thread takes one group of one row: its keys, its values, and one after another the heads that look at them. What that
needs stays in the second-level cache; scores exist for all keys and 16 queries at a time, or backward for 32 keys and
64 queries (Dao et al. 2022, FlashAttention, sections 3.1 and B.4). They lie with keys as rows: sums over keys are then
sums of vectors, and what scores multiply next need not be transposed. `stored` is a pointer of the format of what is
given, `like` of what is multiplied: fp32 or bf16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model import tiles
from model.compiled_products import FAST, record, share, team_of
from model.layouts import clear, copy, panels_over_columns, panels_over_rows, product, rows_of_panels, turn
from model.pointers import halves, integers, moved, same_kind, words
from model.processor import has_fast_bf16_products
from model.vectors import (
    LANES,
    add,
    divide,
    exp,
    larger,
    load,
    multiply,
    multiply_add,
    repeat,
    store,
    store_two,
    subtract,
    total,
    transpose,
)

ZERO, ONE, NEVER = np.float32(0), np.float32(1), np.float32(-np.inf)
# What is given as bf16 is multiplied as such, if the processor does that sooner.
INSIDE, PAIRS = (halves, 2 * LANES) if has_fast_bf16_products() else (words, LANES)
KEYS, QUERIES = 32, 64  # at most taken at once backward: what is between them stays in the first-level cache

ATTENTION = record(
    "thread_number", "num_threads", "barrier", "B", "T", "H", "G", "D", "P", "rotations", "cos", "sin", "starts", "qkv",
    "y", "peaks", "dy", "dqkv", "zeros", "triangle", "numbers", "num_numbers", "formatted", "num_formatted",
    numbers=("scale",),
)  # fmt: skip
"""qkv (B, T, H + 2G, D) and y (B, T, H, D), in the format, and their gradients. D: a multiple of 32; P: T rounded up to
one. peaks (B, H, 2, P): of each query the largest score, and 1 / the sum of its odds, which are exp(score - largest).
cos and sin (T, D), or (B, T, D) where `rotations` is T · D and not 0; the first half of the sines is not looked at.
starts (B, T): the first position that each sees (0: all see the first), at most its own, and no smaller than that of
the position before. zeros (QUERIES,); triangle (32, 16): minus infinity below the diagonal, else 0. For each thread
`num_numbers` of fp32 and `num_formatted` of what is multiplied to work in."""


@njit(**FAST)
def weigh(step: Any, b: Any, block: Any, begin: Any, stop: Any, scores: Any, odds: Any) -> Any:
    """From scores (keys from `begin` to before `stop`, 16 queries) to odds, as a right factor; returns each query's
    largest score, and the sum of its odds."""
    if step.starts != 0:
        for lane in range(min(LANES, step.T - block)):
            for key in range(begin, integers(step.starts)[b * step.T + block + lane]):
                scores[(key - begin) * LANES + lane] = NEVER
    for row in range(stop - block):  # keys from the first query's own on
        at = (block + row - begin) * LANES
        store(scores, at, add(load(scores, at), load(words(step.triangle), row * LANES)))
    highest = load(scores, 0)
    for at in range(LANES, (stop - begin) * LANES, LANES):
        highest = larger(highest, load(scores, at))
    whole = repeat(ZERO)
    for at in range(0, (stop - begin) * LANES, 2 * LANES):
        one, other = exp(subtract(load(scores, at), highest)), exp(subtract(load(scores, at + LANES), highest))
        store_two(odds, at, one, other)
        whole = add(add(whole, one), other)
    return highest, whole


@njit(**FAST)
def attend(step: Any, stored: Any, like: Any, pairs: Any) -> None:
    """y and peaks. pairs: 16 if `like` is of fp32, 32 if of bf16; of so many keys all are taken or none."""
    team = team_of(step)
    first, last = share(step.B * step.G, team)
    T, H, G, D, P = step.T, step.H, step.G, step.D, step.P
    width, heads, zeros, one = (H + 2 * G) * D, H // G, words(step.zeros), repeat(ONE)
    formatted = moved(same_kind(step.formatted, like), team[0] * step.num_formatted)
    rows, keys = formatted, moved(formatted, P * D)
    values, queries = moved(formatted, 2 * P * D), moved(formatted, 3 * P * D)
    odds = moved(formatted, 4 * P * D)  # (P, 16)
    scores = moved(words(step.numbers), team[0] * step.num_numbers)  # (P, 16)
    sums = moved(scores, LANES * P)  # (D, 16)
    tiles.begin(like)
    for item in range(first, last):
        b, g = item // G, item % G
        qkv = moved(same_kind(step.qkv, stored), b * T * width)
        cos, sin = moved(words(step.cos), b * step.rotations), moved(words(step.sin), b * step.rotations)
        clear(keys, T * D, P * D)
        clear(rows, T * D, P * D)
        turn(T, D, moved(qkv, (H + g) * D), width, cos, sin, ONE, ONE, keys, D)
        copy(T, D, moved(qkv, (H + G + g) * D), width, rows, D)
        panels_over_rows(P, D, rows, pairs, queries)
        rows_of_panels(P, D, queries, values)
        for head in range(g * heads, (g + 1) * heads):
            turn(T, D, moved(qkv, head * D), width, cos, sin, ONE, np.float32(step.scale), rows, D)
            panels_over_rows(P, D, rows, pairs, queries)
            peaks = moved(words(step.peaks), (b * H + head) * 2 * P)
            clear(peaks, 0, 2 * P)
            for block in range(0, T, LANES):
                begin = 0 if step.starts == 0 else integers(step.starts)[b * T + block] // pairs * pairs
                stop = -(-(block + LANES) // pairs) * pairs
                panel = moved(queries, block * D)
                product(stop - begin, D, moved(keys, begin * D), D, LANES, panel, 0, zeros, 0, scores, LANES)
                highest, whole = weigh(step, b, block, begin, stop, scores, odds)
                product(D, stop - begin, moved(values, begin), P, LANES, odds, 0, zeros, 0, sums, LANES)
                part = divide(one, whole)
                store(peaks, block, highest)
                store(peaks, P + block, part)
                for i in range(0, D, LANES):
                    transpose(moved(sums, i * LANES), LANES, scores)
                    store(scores, LANES * LANES, part)
                    for row in range(min(LANES, T - block)):
                        factor, target = repeat(scores[LANES * LANES + row]), ((b * T + block + row) * H + head) * D
                        store(same_kind(step.y, stored), target + i, multiply(load(scores, row * LANES), factor))
    tiles.end(like)


@njit(**FAST)
def derive_scores(
    step: Any, b: Any, key: Any, keys: Any, begin: Any, stop: Any, scores: Any, dodds: Any, peaks: Any, deltas: Any,
    odds: Any, dscores: Any, down: Any,
) -> None:  # fmt: skip
    """From scores and the gradients of odds (keys, QUERIES) of some keys and the queries from `begin` to before `stop`:
    odds and the gradients of scores, also as a right factor (QUERIES/16, keys, 16)."""
    parts = moved(peaks, step.P)
    for row in range(keys):
        for query in range(begin, min(key + row, stop)):
            scores[row * QUERIES + query - begin] = NEVER
        if step.starts != 0:
            query = min(stop, step.T) - 1
            while query >= max(begin, key + row) and integers(step.starts)[b * step.T + query] > key + row:
                scores[row * QUERIES + query - begin] = NEVER
                query -= 1
    for query in range(begin, stop, LANES):
        highest, part, delta = load(peaks, query), load(parts, query), load(deltas, query)
        for row in range(0, keys, 2):
            at = row * QUERIES + query - begin
            after = at + QUERIES
            one = multiply(exp(subtract(load(scores, at), highest)), part)
            other = multiply(exp(subtract(load(scores, after), highest)), part)
            store(odds, at, one)
            store(odds, after, other)
            one = multiply(one, subtract(load(dodds, at), delta))
            other = multiply(other, subtract(load(dodds, after), delta))
            store(dscores, at, one)
            store(dscores, after, other)
            store_two(down, (query - begin) * keys + row * LANES, one, other)


@njit(**FAST)
def take_head(step: Any, b: Any, head: Any, stored: Any, rows: Any, deltas: Any) -> None:
    """What a head's derivative needs of each query: in rows (P, D) the gradients of y, and deltas (P,), the mean of the
    gradients of its odds."""
    T, H, D = step.T, step.H, step.D
    place = (b * T * H + head) * D
    dy, y = moved(same_kind(step.dy, stored), place), moved(same_kind(step.y, stored), place)
    copy(T, D, dy, H * D, rows, D)
    clear(deltas, T // LANES * LANES, step.P)
    for t in range(T):
        products = repeat(ZERO)
        for i in range(0, D, LANES):
            products = multiply_add(load(dy, t * H * D + i), load(y, t * H * D + i), products)
        deltas[t] = total(products)


@njit(**FAST)
def end_of_sight(step: Any, b: Any, key: Any, pairs: Any) -> Any:
    """The query before which all stand that see one of the `pairs` keys from `key` on."""
    stop = step.P
    if step.starts != 0:
        starts = moved(integers(step.starts), b * step.T)
        while stop > key + pairs and (stop - pairs >= step.T or starts[stop - pairs] >= key + pairs):
            stop -= pairs
    return stop


@njit(**FAST)
def derive(step: Any, stored: Any, like: Any, pairs: Any) -> None:
    """dqkv."""
    team = team_of(step)
    first, last = share(step.B * step.G, team)
    T, H, G, D, P = step.T, step.H, step.G, step.D, step.P
    width, heads, zeros, size = (H + 2 * G) * D, H // G, words(step.zeros), P * D
    formatted = moved(same_kind(step.formatted, like), team[0] * step.num_formatted)
    rows, keys = formatted, moved(formatted, size)
    values, turned = moved(formatted, 2 * size), moved(formatted, 3 * size)
    queries, queries_down = moved(formatted, 4 * size), moved(formatted, 5 * size)
    given, given_down = moved(formatted, 6 * size), moved(formatted, 7 * size)
    block = KEYS * QUERIES
    odds, dscores = moved(formatted, 8 * size), moved(formatted, 8 * size + block)
    down = moved(formatted, 8 * size + 2 * block)  # dscores as a right factor
    numbers = moved(words(step.numbers), team[0] * step.num_numbers)
    dkeys, dvalues, dqueries, spare = numbers, moved(numbers, size), moved(numbers, 2 * size), moved(numbers, 3 * size)
    scores, dodds = moved(numbers, 4 * size), moved(numbers, 4 * size + block)
    deltas = moved(numbers, 4 * size + 2 * block)
    tiles.begin(like)
    for item in range(first, last):
        b, g = item // G, item % G
        begin = b * T * width
        qkv, dqkv = moved(same_kind(step.qkv, stored), begin), moved(same_kind(step.dqkv, stored), begin)
        cos, sin = moved(words(step.cos), b * step.rotations), moved(words(step.sin), b * step.rotations)
        clear(keys, T * D, size)
        clear(values, T * D, size)
        clear(rows, T * D, size)
        turn(T, D, moved(qkv, (H + g) * D), width, cos, sin, ONE, ONE, keys, D)
        copy(T, D, moved(qkv, (H + G + g) * D), width, values, D)
        panels_over_rows(P, D, keys, pairs, queries)
        rows_of_panels(P, D, queries, turned)
        clear(dkeys, 0, size)
        clear(dvalues, 0, size)
        for head in range(g * heads, (g + 1) * heads):
            turn(T, D, moved(qkv, head * D), width, cos, sin, ONE, np.float32(step.scale), rows, D)
            panels_over_rows(P, D, rows, pairs, queries)
            panels_over_columns(P, D, rows, queries_down)
            take_head(step, b, head, stored, rows, deltas)
            peaks = moved(words(step.peaks), (b * H + head) * 2 * P)
            panels_over_rows(P, D, rows, pairs, given)
            panels_over_columns(P, D, rows, given_down)
            clear(dqueries, 0, size)
            for key in range(0, T, pairs):
                stop = end_of_sight(step, b, key, pairs)
                for begin in range(key, stop, QUERIES):
                    end = min(begin + QUERIES, stop)
                    left_keys, left_values = moved(keys, key * D), moved(values, key * D)
                    panels, apart = moved(queries, begin * D), LANES * D
                    product(pairs, D, left_keys, D, end - begin, panels, apart, zeros, 0, scores, QUERIES)
                    panels = moved(given, begin * D)
                    product(pairs, D, left_values, D, end - begin, panels, apart, zeros, 0, dodds, QUERIES)
                    derive_scores(step, b, key, pairs, begin, end, scores, dodds, peaks, deltas, odds, dscores, down)
                    sums, panels, apart = moved(dvalues, key * D), moved(given_down, begin * LANES), LANES * P
                    product(pairs, end - begin, odds, QUERIES, D, panels, apart, sums, D, sums, D)
                    sums, panels = moved(dkeys, key * D), moved(queries_down, begin * LANES)
                    product(pairs, end - begin, dscores, QUERIES, D, panels, apart, sums, D, sums, D)
                    sums = moved(dqueries, begin)
                    product(D, pairs, moved(turned, key), P, end - begin, down, LANES * pairs, sums, P, sums, P)
            for i in range(0, D, LANES):  # dqueries (D, P) back to (P, D), in `spare`
                for query in range(0, P, LANES):
                    transpose(moved(dqueries, i * P + query), P, scores)
                    for row in range(LANES):
                        store(spare, (query + row) * D + i, load(scores, row * LANES))
            turn(T, D, spare, D, cos, sin, -ONE, np.float32(step.scale), moved(dqkv, head * D), width)
        turn(T, D, dkeys, D, cos, sin, -ONE, ONE, moved(dqkv, (H + g) * D), width)
        copy(T, D, dvalues, D, moved(dqkv, (H + G + g) * D), width)
    tiles.end(like)


def attend_fp32(plan: Any) -> None:
    """`plan`, here and below: the address of a record."""
    attend(carray(plan, 1, ATTENTION)[0], words(0), words(0), LANES)


def attend_bf16(plan: Any) -> None:
    attend(carray(plan, 1, ATTENTION)[0], halves(0), INSIDE(0), PAIRS)


def attended_fp32(plan: Any) -> None:
    derive(carray(plan, 1, ATTENTION)[0], words(0), words(0), LANES)


def attended_bf16(plan: Any) -> None:
    derive(carray(plan, 1, ATTENTION)[0], halves(0), INSIDE(0), PAIRS)
