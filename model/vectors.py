"""Vectors of 16 numbers for code that numba compiles: it has none of its own, and what it makes of plain loops took
from half as long again (attention) to forty times as long (products). Each function here is a few instructions of LLVM.

Numbers are fp32; in memory, which model/pointers.py points to, they may be bf16, held as uint16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from model.pointers import INT, WORDS, call_llvm, repeated
from model.processor import processor_flags

LANES = 16  # numbers of a vector: a register of AVX-512


class VectorType(types.Type):
    """16 numbers of fp32."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


VECTOR = VectorType()
FLOAT = ir.FloatType()
FLOATS, INTS, SHORTS = (ir.VectorType(kind, LANES) for kind in (FLOAT, INT, ir.IntType(16)))


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, FLOATS)


class _Bfloat(ir.Type):
    """LLVM's type, which llvmlite does not know."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


DOT_OF_PAIRS = "llvm.x86.avx512bf16.dpbf16ps.512"  # adds both products of each pair to an fp32 sum
ROUND = "llvm.x86.avx512bf16.cvtneps2bf16.512"
BFLOATS = ir.VectorType(_Bfloat(), 2 * LANES)


def _same(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * LANES)


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return call_llvm(builder, "llvm.fma.v16f32", FLOATS, a, b, c)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("ogt", a, b), a, b)


def _folded(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """The 16 numbers of a vector joined to one, halves with halves."""
    for half in (8, 4, 2, 1):
        order = [(lane + half) % LANES for lane in range(LANES)]
        vector = join(vector, builder.shuffle_vector(vector, vector, ir.Constant(INTS, order)))
    return builder.extract_element(vector, ir.Constant(INT, 0))


def read(builder: Any, kind: Any, pointer: Any, index: Any) -> Any:
    return builder.load(builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer()), align=2)


def write(builder: Any, value: Any, pointer: Any, index: Any) -> None:
    builder.store(value, builder.bitcast(builder.gep(pointer, [index]), value.type.as_pointer()), align=2)


@intrinsic
def load(typing: Any, pointer: Any, index: Any) -> Any:
    """16 neighbours, widened if they are bf16."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        if pointer == WORDS:
            return read(builder, FLOATS, *given)
        bits = builder.zext(read(builder, SHORTS, *given), INTS)
        return builder.bitcast(builder.shl(bits, _same(INTS, 16)), FLOATS)

    return VECTOR(pointer, types.int64), code


def _rounded(builder: Any, value: Any) -> Any:
    """The bits of bf16 for fp32 numbers, as int32; rounded to the nearest, ties to even."""
    if "avx512_bf16" in processor_flags():
        halves = ir.VectorType(_Bfloat(), LANES)
        return builder.zext(builder.bitcast(call_llvm(builder, ROUND, halves, value), SHORTS), INTS)
    bits = builder.bitcast(value, INTS)
    odd = builder.and_(builder.lshr(bits, _same(INTS, 16)), _same(INTS, 1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, _same(INTS, 0x7FFF))), _same(INTS, 16))
    return builder.select(builder.fcmp_unordered("uno", value, value), _same(INTS, 0x7FC0), rounded)


@intrinsic
def store(typing: Any, pointer: Any, index: Any, vector: Any) -> Any:
    """The reverse of `load`; bf16 is rounded to the nearest, ties to even."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        target, at, value = given
        stored = value if pointer == WORDS else builder.trunc(_rounded(builder, value), SHORTS)
        write(builder, stored, target, at)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, VECTOR), code


@intrinsic
def store_two(typing: Any, pointer: Any, index: Any, first: Any, second: Any) -> Any:
    """Two rows of a panel (compiled_products.py): one after the other, or in bf16 as pairs."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        target, at, a, b = given
        if pointer == WORDS:
            write(builder, a, target, at)
            write(builder, b, target, builder.add(at, ir.Constant(at.type, LANES)))
        else:
            upper = builder.shl(_rounded(builder, b), _same(INTS, 16))
            write(builder, builder.or_(_rounded(builder, a), upper), target, at)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, VECTOR, VECTOR), code


@intrinsic
def copy_two(typing: Any, pointer: Any, index: Any, source: Any, first: Any, second: Any) -> Any:
    """`store_two` of 16 numbers at one place of `source` and 16 at another, in the same format."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        target, at, rows, one, other = given
        if pointer == WORDS:
            write(builder, read(builder, FLOATS, rows, one), target, at)
            second_row = builder.add(at, ir.Constant(at.type, LANES))
            write(builder, read(builder, FLOATS, rows, other), target, second_row)
        else:
            lower, upper = (builder.zext(read(builder, SHORTS, rows, place), INTS) for place in (one, other))
            write(builder, builder.or_(lower, builder.shl(upper, _same(INTS, 16))), target, at)
        return context.get_dummy_value()

    assert pointer == source
    return types.void(pointer, types.int64, source, types.int64, types.int64), code


@intrinsic(prefer_literal=True)
def load_one(typing: Any, pointer: Any, index: Any, which: Any) -> Any:
    """The first or second (which: a literal 0 or 1) of two rows that `store_two` stored."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        source, at, _ = given
        second = which.literal_value
        if pointer == WORDS:
            return read(builder, FLOATS, source, builder.add(at, ir.Constant(at.type, LANES * second)))
        bits = read(builder, INTS, source, at)
        upper = builder.and_(bits, _same(INTS, 0xFFFF0000)) if second else builder.shl(bits, _same(INTS, 16))
        return builder.bitcast(upper, FLOATS)

    return VECTOR(pointer, types.int64, which), code


@intrinsic
def transpose(typing: Any, source: Any, step: Any, target: Any) -> Any:
    """16 × 16 numbers, or in bf16 pairs: rows of `source`, with `step` numbers from one to the next, become columns of
    `target`, whose rows follow each other. Each round exchanges one bit of a number's row with that of its column."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        start, between, end = given
        size = 1 if source == WORDS else 2

        def at(count: Any, row: int) -> Any:
            return builder.mul(count, ir.Constant(count.type, row))

        rows = [read(builder, INTS, start, at(between, row)) for row in range(LANES)]
        for bit in (1, 2, 4, 8):
            for row in (row for row in range(LANES) if not row & bit):
                a, b = rows[row], rows[row | bit]
                for place, shift in ((row, 0), (row | bit, bit)):
                    lanes = [lane + shift if not lane & bit else LANES + lane - bit + shift for lane in range(LANES)]
                    rows[place] = builder.shuffle_vector(a, b, ir.Constant(INTS, lanes))
        for row, vector in enumerate(rows):
            write(builder, vector, end, ir.Constant(ir.IntType(64), row * LANES * size))
        return context.get_dummy_value()

    return types.void(source, types.int64, target), code


@intrinsic
def repeat(typing: Any, number: Any) -> Any:
    """16 times the same number."""
    return VECTOR(types.float32), lambda context, builder, signature, given: repeated(builder, given[0], LANES)


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, given: builder.fadd(*given)


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> Any:
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, given: builder.fmul(*given)


@intrinsic
def subtract(typing: Any, a: Any, b: Any) -> Any:
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, given: builder.fsub(*given)


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c, rounded once."""
    return VECTOR(VECTOR, VECTOR, VECTOR), lambda context, builder, signature, given: fused(builder, *given)


@intrinsic
def divide(typing: Any, a: Any, b: Any) -> Any:
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, given: builder.fdiv(*given)


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """The larger of each two numbers."""
    return VECTOR(VECTOR, VECTOR), lambda context, builder, signature, given: _larger(builder, *given)


@intrinsic
def total(typing: Any, vector: Any) -> Any:
    """The sum of the 16 numbers, in a fixed order."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _folded(builder, given[0], lambda a, b: builder.fadd(a, b))

    return types.float32(VECTOR), code


@intrinsic
def largest(typing: Any, vector: Any) -> Any:
    """The largest of the 16 numbers."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _folded(builder, given[0], lambda a, b: _larger(builder, a, b))

    return types.float32(VECTOR), code


@intrinsic
def swap_neighbours(typing: Any, vector: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        order = ir.Constant(INTS, [lane ^ 1 for lane in range(LANES)])
        return builder.shuffle_vector(given[0], given[0], order)

    return VECTOR(VECTOR), code


@intrinsic
def exp(typing: Any, vector: Any) -> Any:
    """e to the power of each number, off by at most 10⁻⁷ of it; 0 below -87, infinite above 88.

    x = n·log 2 + f with |f| ≤ log(2)/2: a polynomial of f, times 2ⁿ put together from bits. Adding 1.5·2²³ rounds to
    an integer, which then stands in the lowest bits.
    """

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        (x,) = given
        shift = _same(FLOATS, 12582912.0)
        shifted = fused(builder, x, _same(FLOATS, 1.4426950408889634), shift)
        n = builder.fsub(shifted, shift)
        f = fused(builder, n, _same(FLOATS, -0.693145751953125), x)
        f = fused(builder, n, _same(FLOATS, -1.42860677e-06), f)
        sums = _same(FLOATS, 1 / 5040)
        for factor in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
            sums = fused(builder, sums, f, _same(FLOATS, factor))
        exponent = builder.add(builder.bitcast(shifted, INTS), _same(INTS, 127 - 0x4B400000))
        power = builder.bitcast(builder.shl(exponent, _same(INTS, 23)), FLOATS)
        found = builder.fmul(sums, power)
        found = builder.select(builder.fcmp_ordered("olt", x, _same(FLOATS, -87.0)), _same(FLOATS, 0.0), found)
        large = builder.fcmp_ordered("ogt", x, _same(FLOATS, 88.0))
        return builder.select(large, _same(FLOATS, float("inf")), found)

    return VECTOR(VECTOR), code
