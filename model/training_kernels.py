"""What stands between the matrix products of a training step, as machine code: norms, gates and the softmax of the
loss, each with its derivative, in one pass over memory.

`like` is a pointer of the format that products have, fp32 or bf16; all else is fp32. A number is computed by one thread
and in one order, whichever threads there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit

from model.compiled_products import FAST, record, share, team_of
from model.pointers import halves, integers, moved, same_kind, words
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
    subtract,
    total,
)

ZERO, ONE = np.float32(0), np.float32(1)
ROWS = 64  # whose gradients for a norm's weights are summed before they are added to those of others

NORM = record(
    "thread_number", "num_threads", "barrier", "rows", "width", "x", "added", "weight", "sum", "factor", "y", "dy",
    "dsum", "dx", "dadded", "dweight", numbers=("eps",),
)  # fmt: skip
"""sum (rows, width) = x + added (0: nothing), y = sum · factor · weight with factor (rows,) = 1/sqrt(mean(sum²) + eps).
`added`, `y`, their gradients in the format; dweight: for every `ROWS` rows the sum of theirs."""

GATE = record("thread_number", "num_threads", "barrier", "rows", "width", "gate_up", "y", "dy", "dgate_up")
"""y (rows, width) = silu(gate) · up of gate_up (rows, 2 · width), all in the format."""

SOFTMAX = record(
    "thread_number", "num_threads", "barrier", "rows", "width", "logits", "targets", "share", "losses", "scratch",
    numbers=("z_loss",),
)  # fmt: skip
"""losses (rows,) = share · (log Z - logits[target] + z_loss · log²Z); logits (rows, width), in the format, become their
gradient. Z is the sum of all exp(logits). scratch: (threads, width) fp32."""


@njit(**FAST)
def add_and_normalise(norm: Any, like: Any) -> None:
    first, last = share(norm.rows, team_of(norm))
    width, weight, sums = norm.width, words(norm.weight), words(norm.sum)
    x, added, y = words(norm.x), same_kind(norm.added, like), same_kind(norm.y, like)
    for row in range(first, last):
        squares = repeat(ZERO)
        for i in range(row * width, (row + 1) * width, LANES):
            value = load(x, i)
            if norm.added != 0:
                value = add(value, load(added, i))
                store(sums, i, value)
            squares = multiply_add(value, value, squares)
        factor = np.float32(1 / np.sqrt(total(squares) / width + norm.eps))
        words(norm.factor)[row] = factor
        times = repeat(factor)
        for i in range(0, width, LANES):
            at = row * width + i
            value = load(sums, at) if norm.added != 0 else load(x, at)
            store(y, at, multiply(multiply(value, times), load(weight, i)))


@njit(**FAST)
def derive_normalised(norm: Any, like: Any) -> None:
    first, last = share(-(-norm.rows // ROWS), team_of(norm))
    width, weight, sums = norm.width, words(norm.weight), words(norm.sum)
    dy, dsum, dx, dadded = same_kind(norm.dy, like), words(norm.dsum), words(norm.dx), same_kind(norm.dadded, like)
    for block in range(first, last):
        dweight = moved(words(norm.dweight), block * width)
        for i in range(0, width, LANES):
            store(dweight, i, repeat(ZERO))
        for row in range(block * ROWS, min((block + 1) * ROWS, norm.rows)):
            factor, products = repeat(words(norm.factor)[row]), repeat(ZERO)
            for i in range(0, width, LANES):
                unit, given = multiply(load(sums, row * width + i), factor), load(dy, row * width + i)
                store(dweight, i, multiply_add(given, unit, load(dweight, i)))
                products = multiply_add(multiply(given, load(weight, i)), unit, products)
            mean = repeat(total(products) / np.float32(-width))
            for i in range(0, width, LANES):
                at = row * width + i
                unit, given = multiply(load(sums, at), factor), multiply(load(dy, at), load(weight, i))
                value = multiply(multiply_add(unit, mean, given), factor)
                if norm.dsum != 0:
                    value = add(value, load(dsum, at))
                store(dx, at, value)
                if norm.dadded != 0:
                    store(dadded, at, value)


@njit(**FAST)
def apply_gate(gate: Any, like: Any) -> None:
    first, last = share(gate.rows, team_of(gate))
    one, minus, width = repeat(ONE), repeat(-ONE), gate.width
    y, gate_up = same_kind(gate.y, like), same_kind(gate.gate_up, like)
    for row in range(first, last):
        for i in range(0, width, LANES):
            gated, up = load(gate_up, 2 * row * width + i), load(gate_up, (2 * row + 1) * width + i)
            store(y, row * width + i, divide(multiply(gated, up), add(one, exp(multiply(gated, minus)))))


@njit(**FAST)
def derive_gated(gate: Any, like: Any) -> None:
    first, last = share(gate.rows, team_of(gate))
    one, minus, width = repeat(ONE), repeat(-ONE), gate.width
    gate_up, dy, dgate_up = same_kind(gate.gate_up, like), same_kind(gate.dy, like), same_kind(gate.dgate_up, like)
    for row in range(first, last):
        for i in range(0, width, LANES):
            at = 2 * row * width + i
            gated, up, given = load(gate_up, at), load(gate_up, at + width), load(dy, row * width + i)
            sigmoid = divide(one, add(one, exp(multiply(gated, minus))))
            silu = multiply(gated, sigmoid)
            slope = multiply(sigmoid, add(one, subtract(gated, silu)))  # of silu
            store(dgate_up, at, multiply(multiply(given, up), slope))
            store(dgate_up, at + width, multiply(given, silu))


@njit(**FAST)
def derive_softmax(softmax: Any, like: Any) -> None:
    team = team_of(softmax)
    first, last = share(softmax.rows, team)
    width, targets, shares = softmax.width, integers(softmax.targets), words(softmax.share)
    odds = moved(words(softmax.scratch), team[0] * width)
    for row in range(first, last):
        logits = moved(same_kind(softmax.logits, like), row * width)
        target, part = targets[row], shares[row]
        nearest = target // LANES * LANES
        store(odds, 0, load(logits, nearest))
        chosen = odds[target - nearest]
        most = load(logits, 0)
        for i in range(LANES, width, LANES):
            most = larger(most, load(logits, i))
        highest = largest(most)
        lower, sums = repeat(-highest), repeat(ZERO)
        for i in range(0, width, LANES):
            value = exp(add(load(logits, i), lower))
            store(odds, i, value)
            sums = add(sums, value)
        whole, z_loss = total(sums), np.float32(softmax.z_loss)
        log_z = np.float32(np.log(whole)) + highest
        words(softmax.losses)[row] = part * (log_z - chosen + z_loss * log_z * log_z)
        times = repeat(part * (ONE + 2 * z_loss * log_z) / whole)
        for i in range(0, width, LANES):
            store(logits, i, multiply(load(odds, i), times))
        store(odds, nearest, multiply(load(odds, nearest), times))
        odds[target] -= part
        store(logits, nearest, load(odds, nearest))


def normalise_fp32(plan: Any) -> None:
    """`plan`, here and below: the address of a record."""
    add_and_normalise(carray(plan, 1, NORM)[0], words(0))


def normalise_bf16(plan: Any) -> None:
    add_and_normalise(carray(plan, 1, NORM)[0], halves(0))


def normalised_fp32(plan: Any) -> None:
    derive_normalised(carray(plan, 1, NORM)[0], words(0))


def normalised_bf16(plan: Any) -> None:
    derive_normalised(carray(plan, 1, NORM)[0], halves(0))


def gate_fp32(plan: Any) -> None:
    apply_gate(carray(plan, 1, GATE)[0], words(0))


def gate_bf16(plan: Any) -> None:
    apply_gate(carray(plan, 1, GATE)[0], halves(0))


def gated_fp32(plan: Any) -> None:
    derive_gated(carray(plan, 1, GATE)[0], words(0))


def gated_bf16(plan: Any) -> None:
    derive_gated(carray(plan, 1, GATE)[0], halves(0))


def softmax_fp32(plan: Any) -> None:
    derive_softmax(carray(plan, 1, SOFTMAX)[0], words(0))


def softmax_bf16(plan: Any) -> None:
    derive_softmax(carray(plan, 1, SOFTMAX)[0], halves(0))
