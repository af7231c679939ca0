"""Typed pointers for code that numba compiles: to memory whose address it is given as a number. Places in memory count
numbers of the pointer's type.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORDS, HALVES, INTEGERS, BYTES = (
    types.CPointer(kind) for kind in (types.float32, types.uint16, types.int64, types.uint8)
)
INT = ir.IntType(32)


def call_llvm(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """In what LLVM is given: the result of one of its own functions."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def repeated(builder: Any, number: Any, lanes: int) -> Any:
    """In what LLVM is given: a vector of so many times the same number."""
    vector = ir.VectorType(number.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(INT, 0))
    every = ir.Constant(ir.VectorType(INT, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), every)


def fetch_ahead(builder: Any, pointer: Any) -> None:
    """In what LLVM is given: asks for what a pointer is to, for later."""
    byte = ir.IntType(8).as_pointer()
    flags = [ir.Constant(INT, value) for value in (0, 2, 1)]  # to read, into the second-level cache, data
    call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), builder.bitcast(pointer, byte), *flags)


def _pointer(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    return builder.inttoptr(given[0], context.get_value_type(signature.return_type))


@intrinsic
def words(typing: Any, address: Any) -> Any:
    """A pointer to fp32."""
    return WORDS(types.int64), _pointer


@intrinsic
def halves(typing: Any, address: Any) -> Any:
    """A pointer to bf16."""
    return HALVES(types.int64), _pointer


@intrinsic
def integers(typing: Any, address: Any) -> Any:
    """A pointer to int64."""
    return INTEGERS(types.int64), _pointer


@intrinsic
def octets(typing: Any, address: Any) -> Any:
    """A pointer to bytes."""
    return BYTES(types.int64), _pointer


@intrinsic
def anything(typing: Any, address: Any) -> Any:
    """A pointer to no matter what."""
    return types.voidptr(types.int64), _pointer


@intrinsic
def same_kind(typing: Any, address: Any, like: Any) -> Any:
    """A pointer to numbers of the format of another pointer."""
    return like(types.int64, like), _pointer


@intrinsic
def is_pairs(typing: Any, like: Any) -> Any:
    """Whether a pointer is to bf16, whose panels hold pairs."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.get_constant(types.boolean, like == HALVES)

    return types.boolean(like), code


@intrinsic
def call(typing: Any, function: Any) -> Any:
    """The int32 that a C function without arguments returns."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.call(builder.inttoptr(given[0], ir.FunctionType(INT, []).as_pointer()), [])

    return types.int32(types.int64), code


@intrinsic
def moved(typing: Any, pointer: Any, count: Any) -> Any:
    """A pointer so many numbers further on."""
    return pointer(pointer, types.int64), lambda context, builder, signature, given: builder.gep(given[0], [given[1]])


@intrinsic
def fetch(typing: Any, pointer: Any, index: Any) -> Any:
    """Asks for what stands there, for later."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        fetch_ahead(builder, builder.gep(given[0], [given[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64), code
