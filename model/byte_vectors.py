"""64 bytes at once for code that numba compiles: a register of AVX-512, which LLVM splits where there are none.

Places in memory count bytes. Masks hold a bit for each byte, that of the first in the lowest one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from model.pointers import BYTES, call_llvm, repeated

LANES = 64
BYTE, LONG, VECTOR = ir.IntType(8), ir.IntType(64), ir.VectorType(ir.IntType(8), LANES)


def _same(value: int) -> Any:
    return ir.Constant(VECTOR, [value] * LANES)


def _at(builder: Any, pointer: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [place]), VECTOR.as_pointer())


@intrinsic
def copy_text(typing: Any, source: Any, place: Any, target: Any, at: Any) -> Any:
    """Copy 64 bytes. Gives a mask of those that are no plain characters of a JSON text: quotes, backslashes, control
    characters, and all that is not ASCII."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        begin, number, end, other = given
        vector = builder.load(_at(builder, begin, number), align=1)
        builder.store(vector, _at(builder, end, other), align=1)
        found = builder.icmp_signed("<", vector, _same(0x20))  # of what is not ASCII the highest bit is the sign
        for value in b'"\\\x7f':
            found = builder.or_(found, builder.icmp_unsigned("==", vector, _same(value)))
        return builder.bitcast(found, LONG)

    return types.uint64(BYTES, types.int64, BYTES, types.int64), code


@intrinsic
def between(typing: Any, source: Any, place: Any, low: Any, high: Any) -> Any:
    """A mask of those of 64 bytes that are from `low` to `high`, both uint8."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        begin, number, least, most = given
        above = builder.sub(builder.load(_at(builder, begin, number), align=1), repeated(builder, least, LANES))
        found = builder.icmp_unsigned("<=", above, repeated(builder, builder.sub(most, least), LANES))
        return builder.bitcast(found, LONG)

    return types.uint64(BYTES, types.int64, types.uint8, types.uint8), code


@intrinsic
def lowest(typing: Any, mask: Any) -> Any:
    """The place of the lowest bit that is set, uint64; 64 where none is."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return call_llvm(builder, "llvm.cttz.i64", LONG, given[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@intrinsic
def count_bits(typing: Any, mask: Any) -> Any:
    """How many bits are set, uint64."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return call_llvm(builder, "llvm.ctpop.i64", LONG, given[0])

    return types.uint64(types.uint64), code


@intrinsic
def _copy(typing: Any, source: Any, place: Any, target: Any, at: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = builder.load(_at(builder, *given[:2]), align=1)
        builder.store(vector, _at(builder, *given[2:]), align=1)
        return context.get_dummy_value()

    return types.void(BYTES, types.int64, BYTES, types.int64), code


@njit(nogil=True, error_model="numpy")
def copy(source: Any, begin: Any, end: Any, target: Any, at: Any) -> None:
    """Copy bytes. What numba makes of such a loop takes the last 100 or so one by one."""
    size = end - begin
    if size < LANES:
        for byte in range(size):
            target[at + byte] = source[begin + byte]
        return
    for byte in range(0, size - LANES, LANES):
        _copy(source, begin + byte, target, at + byte)
    _copy(source, end - LANES, target, at + size - LANES)


@intrinsic
def clear(typing: Any, target: Any, at: Any) -> Any:
    """Set 64 bytes to zero."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(_same(0), _at(builder, *given), align=1)
        return context.get_dummy_value()

    return types.void(BYTES, types.int64), code


def _is_space(builder: Any, vector: Any) -> Any:
    """Of which bytes of ASCII `str.isspace` holds: 9 to 13 and 28 to 32."""
    first = builder.icmp_unsigned("<", builder.sub(vector, _same(9)), _same(5))
    return builder.or_(first, builder.icmp_unsigned("<", builder.sub(vector, _same(28)), _same(5)))


@intrinsic
def find_spaces(typing: Any, source: Any, place: Any) -> Any:
    """A mask of the white space of ASCII among 64 bytes."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        found = _is_space(builder, builder.load(_at(builder, *given), align=1))
        return builder.bitcast(found, LONG)

    return types.uint64(BYTES, types.int64), code


@intrinsic
def copy_spaced(typing: Any, source: Any, place: Any, target: Any, at: Any) -> Any:
    """Copy 64 bytes, with a blank for each white space of ASCII."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = builder.load(_at(builder, *given[:2]), align=1)
        spaced = builder.select(_is_space(builder, vector), _same(0x20), vector)
        builder.store(spaced, _at(builder, *given[2:]), align=1)
        return context.get_dummy_value()

    return types.void(BYTES, types.int64, BYTES, types.int64), code
