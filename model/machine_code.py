"""How machine code of this layer is made and run: numba compiles it, and torch's own threads run it.

The threads are those that torch computes with, since they belong to its OpenMP library (libgomp), which is asked to run
a function on them. Others, such as numba's own, would compete with them for the same cores.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import cfunc, types
from numba.core import event
from torch import Tensor

from model import compiled_products, layouts, pointers, tiles, vector_tile, vectors
from model.processor import has_fast_bf16_products, processor_flags

ASKED = {"thread_number": "omp_get_thread_num", "num_threads": "omp_get_num_threads", "barrier": "GOMP_barrier"}
VECTOR_FLAGS = {"avx512f", "avx512_bf16"}  # what vectors.py and vector_tile.py look at
Kernel = Callable[[Any], None]
_logger = logging.getLogger(__name__)


@cache
def openmp() -> tuple[Callable[..., None], dict[str, int]] | None:
    """What runs a C function on several threads, GOMP_parallel(function, argument, threads, flags), and the addresses
    of what they ask OpenMP. None where torch does not use this library: then one thread does all."""
    library = ctypes.CDLL(None)
    if not all(hasattr(library, name) for name in ("GOMP_parallel", *ASKED.values())):
        return None
    parallel = library.GOMP_parallel
    parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    places = {field: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for field, name in ASKED.items()}
    return parallel, {field: place or 0 for field, place in places.items()}


def run(function: Kernel, plan: np.ndarray[Any, Any], threads: int) -> None:
    """Runs a function that takes the address of a record on so many threads. plan: one record, whose first three fields
    are those that `team_of` reads."""
    code, several = machine_code(function), openmp()
    if several is None or threads == 1:
        code.ctypes(plan.ctypes.data)
        return
    parallel, places = several
    for field, place in places.items():
        plan[field] = place
    parallel(code.address, plan.ctypes.data, threads, 0)


def address(tensor: Tensor | None) -> int:
    """Where its numbers begin; 0 for none."""
    assert tensor is None or tensor.is_contiguous()
    return 0 if tensor is None else tensor.data_ptr()


def layout(matrix: Tensor) -> tuple[int, bool]:
    """Numbers from row to row as they lie there, and whether those are the columns of the matrix."""
    along, across = matrix.stride()
    return (along, False) if across == 1 else (across, True)


def run_for(
    format: torch.dtype, kernels: tuple[Kernel, Kernel], kind: np.dtype[Any], **values: Tensor | float | None
) -> None:
    """Runs the first kernel for fp32, the second for bf16, on all of torch's threads, on `plan_of` the rest."""
    run(kernels[format == torch.bfloat16], plan_of(kind, **values), torch.get_num_threads())


def plan_of(kind: np.dtype[Any], **values: Tensor | float | None) -> np.ndarray[Any, Any]:
    """A record of this kind with these fields, tensors by their address: whoever runs it keeps them until then."""
    plan = np.zeros(1, kind)
    for name, value in values.items():
        plan[name] = address(value) if value is None or isinstance(value, Tensor) else value
    return plan


class _OnCompiling(event.Listener):
    """Tells what is waited for, once."""

    def on_start(self, _: Any) -> None:
        _tell()

    def on_end(self, _: Any) -> None:
        pass


@cache
def _tell() -> None:
    _logger.info("compiling for this processor, which takes some seconds")


@cache
def machine_code(function: Kernel) -> Any:
    """A function with its `address`, compiled, or loaded from where numba keeps machine code: in __pycache__ here, else
    in the user's folder for such things.

    There numba looks whether the function's own file has changed, but not whether what it is made of has, nor what
    may be used of the processor, so that stands in the name.
    """
    sources = "".join(map(inspect.getsource, (compiled_products, layouts, pointers, tiles, vector_tile, vectors)))
    sources += f"{tiles.AVAILABLE} {has_fast_bf16_products()} {sorted(VECTOR_FLAGS & processor_flags())}"
    function.__qualname__ = f"{function.__name__}_{hashlib.sha256(sources.encode()).hexdigest()[:16]}"
    kind = types.void(types.voidptr)
    with event.install_listener("numba:compile", _OnCompiling()):
        try:
            return cfunc(kind, cache=True)(function)
        except RuntimeError:  # no such folder can be written
            return cfunc(kind)(function)
