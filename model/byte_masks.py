"""64 bytes at once for code that numba compiles: which of them are what, as 64 bits, the lowest that of the first byte.

numba makes one jump or one load a byte of such a question; here it is a few instructions of LLVM, which makes vectors
of them as wide as the processor has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from model.pointers import INT, call_llvm

WIDTH = 64
BITS, FLAG = ir.IntType(64), ir.IntType(1)
BYTES = ir.VectorType(ir.IntType(8), WIDTH)


def _repeated(builder: Any, byte: Any) -> Any:
    undefined = ir.Constant(BYTES, ir.Undefined)
    first = builder.insert_element(undefined, byte, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT, WIDTH), [0] * WIDTH))


@intrinsic
def between(typing: Any, address: Any, low: Any, high: Any) -> Any:
    """Which of the 64 bytes at an address are from `low` to `high`, both uint8."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place, least, most = given
        held = builder.load(builder.inttoptr(place, BYTES.as_pointer()), align=1)
        above = builder.sub(held, _repeated(builder, least))
        found = builder.icmp_unsigned("<=", above, _repeated(builder, builder.sub(most, least)))
        return builder.bitcast(found, BITS)

    return types.uint64(types.uintp, types.uint8, types.uint8), code


@intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set, uint64; 64 where none is."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return call_llvm(builder, "llvm.cttz.i64", BITS, given[0], ir.Constant(FLAG, 0))

    return types.uint64(types.uint64), code


@intrinsic
def count_bits(typing: Any, bits: Any) -> Any:
    """How many bits are set, uint64."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return call_llvm(builder, "llvm.ctpop.i64", BITS, given[0])

    return types.uint64(types.uint64), code
