"""Vectors of 16 whole numbers for code that numba compiles, and what stands in tables where they point to: memory is
asked for 16 places at once, and answers for all while one would wait.

What a processor has no such instruction for, LLVM writes out number by number. Arrays are given by their addresses, and
hold numbers of 32 bits where nothing else is said.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from model.pointers import HALVES, INT, WORDS, call_llvm, fetch_ahead, repeated
from model.processor import processor_flags
from model.vectors import FLOATS, INTS, LANES, SHORTS

BYTE, SHORT, LONG = (ir.IntType(bits) for bits in (8, 16, 64))
FLAGS = ir.VectorType(ir.IntType(1), LANES)
NOTHING = ir.Constant(INTS, [0] * LANES)
HALVES_OF_LINE = 32  # of fp16, which memory gives at once
MANTISSA = 23 - 10  # bits that fp32 has more of it than fp16


class WholeVectorType(types.Type):
    """16 whole numbers of 32 bits."""

    def __init__(self) -> None:
        super().__init__(name="WholeVector")


WHOLE = WholeVectorType()


@register_model(WholeVectorType)
class _WholeVectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, INTS)


def _pointer(builder: Any, address: Any, kind: Any = INT) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _vector_at(builder: Any, address: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(_pointer(builder, address), [index]), INTS.as_pointer())


@intrinsic
def load(typing: Any, address: Any, index: Any) -> Any:
    """16 neighbours."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.load(_vector_at(builder, *given), align=4)

    return WHOLE(types.int64, types.int64), code


@intrinsic
def store(typing: Any, address: Any, index: Any, vector: Any) -> Any:
    """The reverse of `load`."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(given[2], _vector_at(builder, *given[:2]), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, WHOLE), code


@intrinsic
def repeat(typing: Any, number: Any) -> Any:
    """16 times the same number."""
    return WHOLE(types.int32), lambda context, builder, signature, given: repeated(builder, given[0], LANES)


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    return WHOLE(WHOLE, WHOLE), lambda context, builder, signature, given: builder.add(*given)


@intrinsic
def subtract(typing: Any, a: Any, b: Any) -> Any:
    return WHOLE(WHOLE, WHOLE), lambda context, builder, signature, given: builder.sub(*given)


@intrinsic
def bits_of_both(typing: Any, a: Any, b: Any) -> Any:
    return WHOLE(WHOLE, WHOLE), lambda context, builder, signature, given: builder.and_(*given)


@intrinsic
def bits_of_either(typing: Any, a: Any, b: Any) -> Any:
    return WHOLE(WHOLE, WHOLE), lambda context, builder, signature, given: builder.or_(*given)


@intrinsic
def shift_up(typing: Any, vector: Any, bits: Any) -> Any:
    """Each number moved up by as many bits as another says."""
    return WHOLE(WHOLE, WHOLE), lambda context, builder, signature, given: builder.shl(*given)


@intrinsic
def smaller(typing: Any, a: Any, b: Any) -> Any:
    """The smaller of each two numbers."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.select(builder.icmp_signed("<", *given), *given)

    return WHOLE(WHOLE, WHOLE), code


def _gathered(step: Any) -> Any:
    """Code for the 32 bits at each of 16 places that count numbers of the type `step`."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        address, places = given
        table = repeated(builder, _pointer(builder, address), LANES)
        pointers = builder.gep(table, [places], source_etype=step)
        every, align = ir.Constant(FLAGS, [1] * LANES), ir.Constant(INT, step.width // 8)
        return call_llvm(builder, "llvm.masked.gather.v16i32.v16p0", INTS, pointers, align, every, NOTHING)

    return code


@intrinsic
def gather(typing: Any, address: Any, places: Any) -> Any:
    """What stands at 16 places of an array."""
    return WHOLE(types.int64, WHOLE), _gathered(INT)


@intrinsic
def gather_bytes(typing: Any, address: Any, places: Any) -> Any:
    """The four bytes from each of 16 places of an array of bytes on, the first one lowest."""
    return WHOLE(types.int64, WHOLE), _gathered(BYTE)


@intrinsic
def append(typing: Any, address: Any, end: Any, vector: Any, signs: Any) -> Any:
    """Write the numbers of a vector where `signs` is not negative to an array, from `end` on; gives where they end.
    What stands within 16 numbers from `end` on is lost."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        address, end, vector, signs = given
        chosen = builder.icmp_signed(">=", signs, NOTHING)
        if "avx512f" in processor_flags():  # in a register: straight to memory, AMD's take a hundred times as long
            packed = call_llvm(builder, "llvm.x86.avx512.mask.compress.v16i32", INTS, vector, NOTHING, chosen)
            builder.store(packed, _vector_at(builder, address, end), align=4)
            return builder.add(end, builder.zext(builder.ctpop(builder.bitcast(chosen, SHORT)), LONG))
        target = _pointer(builder, address)
        for lane in (ir.Constant(INT, lane) for lane in range(LANES)):
            builder.store(builder.extract_element(vector, lane), builder.gep(target, [end]))
            end = builder.add(end, builder.zext(builder.extract_element(chosen, lane), LONG))
        return end

    return types.int64(types.int64, types.int64, WHOLE, WHOLE), code


@intrinsic(prefer_literal=True)
def sum_rows(
    typing: Any, vectors: Any, table: Any, rows: Any, factors: Any, numbers: Any, begin: Any, end: Any, ahead: Any,
    target: Any,
) -> Any:  # fmt: skip
    """Rows of a table of fp16, none negative, each of `vectors` (a literal) times 16 numbers: those that `rows` tells
    from `begin` to `end`, each times the factor whose number `numbers` tells. Numbers are taken 2¹¹² times too small,
    since the exponent of fp32 counts from there. Their sum, added up in this order in registers, goes to `target`.
    ahead: how many rows before its turn one is asked for from memory; as many are read of `rows` beyond the end."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, halves, rows_at, words, numbers_at, first, last, far, result = given
        width = vectors.literal_value * LANES
        row_numbers, factor_numbers = _pointer(builder, rows_at), _pointer(builder, numbers_at)

        def number_at(pointer: Any, place: Any) -> Any:
            return builder.zext(builder.load(builder.gep(pointer, [place])), LONG)

        def vector_in(pointer: Any, which: int, kind: Any) -> Any:
            place = builder.gep(pointer, [ir.Constant(LONG, which * LANES)])
            return builder.bitcast(place, kind.as_pointer())

        def row_at(place: Any) -> Any:
            return builder.gep(halves, [builder.mul(number_at(row_numbers, place), ir.Constant(LONG, width))])

        sums = [cgutils.alloca_once(builder, FLOATS) for _ in range(vectors.literal_value)]
        for sum_ in sums:
            builder.store(ir.Constant(FLOATS, [0.0] * LANES), sum_)
        with cgutils.for_range_slice(builder, first, last, ir.Constant(LONG, 1), LONG) as (place, _):
            soon, row = row_at(builder.add(place, far)), row_at(place)
            for number in range(0, width, HALVES_OF_LINE):
                fetch_ahead(builder, builder.gep(soon, [ir.Constant(LONG, number)]))
            factor = builder.load(builder.gep(words, [number_at(factor_numbers, place)]))
            factor = repeated(builder, factor, LANES)
            for which, sum_ in enumerate(sums):
                bits = builder.zext(builder.load(vector_in(row, which, SHORTS), align=2), INTS)
                numbers = builder.bitcast(builder.shl(bits, ir.Constant(INTS, [MANTISSA] * LANES)), FLOATS)
                builder.store(builder.fadd(builder.load(sum_), builder.fmul(factor, numbers)), sum_)
        for which, sum_ in enumerate(sums):
            builder.store(builder.load(sum_), vector_in(result, which, FLOATS), align=4)
        return context.get_dummy_value()

    i = types.int64
    return types.void(vectors, HALVES, i, WORDS, i, i, i, i, WORDS), code
