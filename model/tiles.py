"""Products of 16 × 16 blocks of bf16 on the processor's matrix unit (Intel AMX), for code that numba compiles.

`multiplies` tells where `add_blocks` may be called. A thread calls `begin` before its first block and `end` after its
last.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from model.pointers import HALVES, WORDS, call_llvm
from model.processor import processor_flags

LANES = 16  # rows and columns of a block
DEPTH = 32  # numbers of a row that one instruction multiplies
BYTE, LONG, VOID = ir.IntType(8), ir.IntType(64), ir.VoidType()
REGISTERS = [ir.Constant(BYTE, number) for number in range(8)]


def _is_permitted() -> bool:
    """Linux gives the registers to a process that asks, and to its threads (Documentation/arch/x86/xstate.rst)."""
    if not {"amx_tile", "amx_bf16"} <= processor_flags() or platform.machine() != "x86_64":
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


AVAILABLE = _is_permitted()


def _shapes() -> bytearray:
    """What LDTILECFG reads: palette 1, and for each of eight registers 16 rows of 64 bytes."""
    sizes, rows = [64, 0] * 8, [16] * 8
    return bytearray([1, *[0] * 15, *sizes, *[0] * 16, *rows, *[0] * 8])


SHAPES = _shapes()


def multiplies(kind: Any) -> bool:
    """Whether blocks of what this type of pointer is to are multiplied here."""
    return AVAILABLE and kind == HALVES


def _bytes(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, BYTE.as_pointer())


@intrinsic
def begin(typing: Any, like: Any) -> Any:
    """Gives the registers their shape, where products of the format of the pointer `like` are made in them."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        if multiplies(like):
            kind = ir.ArrayType(BYTE, len(SHAPES))
            shapes = cgutils.global_constant(builder, "tile_shapes", ir.Constant(kind, SHAPES))
            call_llvm(builder, "llvm.x86.ldtilecfg", VOID, _bytes(builder, shapes))
        return context.get_dummy_value()

    return types.void(like), code


@intrinsic
def end(typing: Any, like: Any) -> Any:
    """Frees the registers, so that they need not be saved when threads take turns."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        if multiplies(like):
            call_llvm(builder, "llvm.x86.tilerelease", VOID)
        return context.get_dummy_value()

    return types.void(like), code


def _load(builder: Any, register: Any, pointer: Any, stride: Any) -> None:
    call_llvm(builder, "llvm.x86.tileloadd64", VOID, register, _bytes(builder, pointer), stride)


def _times(builder: Any, count: Any, size: int) -> Any:
    return builder.mul(count, ir.Constant(LONG, size))


def _multiply(
    builder: Any, sums: list[list[Any]], length: Any, lefts: list[Any], left_stride: Any, rights: list[Any]
) -> None:
    """Adds to each register sums[row][column] the product of a left block of rows and a right one of columns."""
    left, right = REGISTERS[4 : 4 + len(lefts)], REGISTERS[6 : 6 + len(rights)]
    none, step = ir.Constant(LONG, 0), ir.Constant(LONG, DEPTH)
    with cgutils.for_range_slice(builder, none, length, step, LONG) as (place, _):
        for register, pointer in zip(left, lefts, strict=True):
            _load(builder, register, builder.gep(pointer, [place]), left_stride)
        for register, pointer in zip(right, rights, strict=True):
            at = builder.gep(pointer, [builder.mul(place, ir.Constant(LONG, LANES))])
            _load(builder, register, at, ir.Constant(LONG, 4 * LANES))
        for row, one in zip(sums, left, strict=True):
            for register, other in zip(row, right, strict=True):
                call_llvm(builder, "llvm.x86.tdpbf16ps", VOID, register, one, other)


@intrinsic(prefer_literal=True)
def add_blocks(
    typing: Any, high: Any, wide: Any, depth: Any, x: Any, x_stride: Any, panels: Any, apart: Any, initial: Any,
    initial_stride: Any, y: Any, y_stride: Any,
) -> Any:  # fmt: skip
    """y (16 · high, 16 · wide) fp32 = initial + x (16 · high, depth) · panels (depth/2, 16, 2), `apart` numbers from
    one to the next, both bf16; depth a multiple of 32. high, wide: literals 1 or 2, for what is loaded serves two
    products."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, _, length, left, left_step, right, between, first, first_step, target, target_step = given
        rows, columns = range(high.literal_value), range(wide.literal_value)
        sums = [[REGISTERS[2 * row + column] for column in columns] for row in rows]

        def places(start: Any, step: Any) -> list[tuple[Any, Any]]:
            return [
                (sums[row][column], builder.gep(start, [builder.add(_times(builder, step, LANES * row), part)]))
                for row in rows
                for column, part in ((column, ir.Constant(LONG, LANES * column)) for column in columns)
            ]

        for register, place in places(first, first_step):
            _load(builder, register, place, _times(builder, first_step, 4))
        lefts = [builder.gep(left, [_times(builder, left_step, LANES * row)]) for row in rows]
        rights = [builder.gep(right, [_times(builder, between, column)]) for column in columns]
        _multiply(builder, sums, length, lefts, _times(builder, left_step, 2), rights)
        for register, place in places(target, target_step):
            stride = _times(builder, target_step, 4)
            call_llvm(builder, "llvm.x86.tilestored64", VOID, register, _bytes(builder, place), stride)
        return context.get_dummy_value()

    assert x == panels == HALVES and initial == y == WORDS
    i = types.int64
    return types.void(high, wide, i, x, i, panels, i, initial, i, y, i), code


NUMBERS = LANES * DEPTH  # of a block as it is loaded
PARTS = 3  # numbers of bf16 whose sum is one of fp32
TERMS = [(0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0)]  # the products of parts that count, each with one of the last


@intrinsic
def add_split_blocks(typing: Any, count: Any, left: Any, right: Any, adds: Any, y: Any, y_stride: Any) -> Any:
    """y (32, 32) fp32 = left · right, or with `adds` as much more. left: 2 rows of `count` blocks (PARTS, 16, 32);
    right: 2 columns of as many, as pairs (PARTS, 16, 16, 2)."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        number, lefts, rights, more, target, target_step = given
        stride, lower = _times(builder, target_step, 4), _times(builder, target_step, LANES)
        blocks = [builder.gep(target, [ir.Constant(LONG, column)]) for column in (0, LANES)]
        blocks += [builder.gep(block, [lower]) for block in blocks]
        second = _times(builder, number, PARTS * NUMBERS)
        sides = [(lefts, REGISTERS[4:6]), (rights, REGISTERS[6:8])]
        with builder.if_else(builder.icmp_signed("!=", more, ir.Constant(LONG, 0))) as (then, otherwise):
            with then:
                for register, block in zip(REGISTERS[:4], blocks, strict=True):
                    _load(builder, register, block, stride)
            with otherwise:
                for register in REGISTERS[:4]:
                    call_llvm(builder, "llvm.x86.tilezero", VOID, register)
        with cgutils.for_range(builder, number) as loop:
            begin, loaded = _times(builder, loop.index, PARTS * NUMBERS), (-1, -1)
            for term in TERMS:
                for (start, registers), part, before in zip(sides, term, loaded, strict=True):
                    if part != before:
                        place = builder.gep(start, [builder.add(begin, ir.Constant(LONG, part * NUMBERS))])
                        for register, at in zip(registers, (place, builder.gep(place, [second])), strict=True):
                            _load(builder, register, at, ir.Constant(LONG, 2 * DEPTH))
                loaded = term
                for number_of_sum, register in enumerate(REGISTERS[:4]):
                    one, other = REGISTERS[4 + number_of_sum // 2], REGISTERS[6 + number_of_sum % 2]
                    call_llvm(builder, "llvm.x86.tdpbf16ps", VOID, register, one, other)
        for register, block in zip(REGISTERS[:4], blocks, strict=True):
            call_llvm(builder, "llvm.x86.tilestored64", VOID, register, _bytes(builder, block), stride)
        return context.get_dummy_value()

    assert left == right == HALVES and y == WORDS
    i = types.int64
    return types.void(i, left, right, i, y, i), code
