"""A few rows and columns of a matrix product, whose sums are held in registers; for code that numba compiles."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from model.pointers import HALVES, INT, call_llvm, fetch_ahead, repeated
from model.processor import processor_flags
from model.vectors import BFLOATS, DOT_OF_PAIRS, FLOAT, FLOATS, INTS, LANES, fused, read, write

# Rows and panels whose sums the registers hold: AVX-512 has 32 of 16 numbers, AVX2 16 of eight. TALL: rows if there is
# one panel. Where there are many of both, several panels are better: a number that is loaded serves several products.
TALL, HIGH, PANELS = (16, 8, 2) if "avx512f" in processor_flags() else (4, 4, 1)
WIDE = PANELS * LANES


@intrinsic(prefer_literal=True)
def tile(
    typing: Any, rows: Any, panels: Any, depth: Any, x: Any, x_stride: Any, x_next: Any, panel: Any, panel_stride: Any,
    ahead: Any, initial: Any, initial_stride: Any, y: Any, y_stride: Any,
) -> Any:  # fmt: skip
    """y (rows, 16 · panels) = initial + x (rows, depth) · columns, that lie in panels (depth, 16), in bf16 (depth/2,
    16, 2). rows, panels: literals. x_stride, x_next: how many numbers lie between the rows of x, and from one of a row
    to its next; panel_stride: from a panel to the next. ahead: how many numbers of a panel before their turn they are
    asked for from memory."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _, _, end, left, between, step, right, apart, far, before, before_step, target, target_step = given
        pairs, numbers, lines = x == HALVES, range(rows.literal_value), range(panels.literal_value)

        def at(stride: Any, number: int) -> Any:
            return builder.mul(stride, ir.Constant(stride.type, number))

        def places(start: Any, stride: Any) -> list[tuple[Any, Any]]:
            """Where rows begin, and in each where its panels do."""
            return [
                (builder.gep(start, [at(stride, row)]), ir.Constant(stride.type, LANES * line))
                for row in numbers
                for line in lines
            ]

        none = ir.Constant(end.type, 0)
        sums = [cgutils.alloca_once(builder, FLOATS) for _ in places(before, before_step)]
        for total, place in zip(sums, places(before, before_step), strict=True):
            builder.store(read(builder, FLOATS, *place), total)
        factors = [builder.gep(left, [at(between, row)]) for row in numbers]
        columns = [builder.gep(right, [at(apart, line)]) for line in lines]
        every = ir.Constant(end.type, 2 if pairs else 1)
        with cgutils.for_range_slice(builder, none, end, every, end.type) as (k, _):
            here = at(k, LANES)
            weights = [read(builder, INTS if pairs else FLOATS, column, here) for column in columns]
            for column in columns:
                fetch_ahead(builder, builder.gep(column, [builder.add(here, far)]))
            for row, start in enumerate(factors):
                one = read(builder, INT if pairs else FLOAT, start, builder.mul(k, step))
                factor = repeated(builder, one, LANES)
                for line, weight in enumerate(weights):
                    total = sums[row * len(lines) + line]
                    if pairs:
                        both = builder.bitcast(factor, BFLOATS), builder.bitcast(weight, BFLOATS)
                        product = call_llvm(builder, DOT_OF_PAIRS, FLOATS, builder.load(total), *both)
                    else:
                        product = fused(builder, factor, weight, builder.load(total))
                    builder.store(product, total)
        for total, place in zip(sums, places(target, target_step), strict=True):
            write(builder, builder.load(total), *place)
        return context.get_dummy_value()

    i = types.int64
    return types.void(rows, panels, i, x, i, i, panel, i, i, initial, i, y, i), code
