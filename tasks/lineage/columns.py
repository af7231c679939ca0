"""Arrow columns of a few values. `pa.array` would import pandas first, which takes longer than most questions."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def texts(values: Sequence[str | None]) -> pa.Array:
    """A column of large_string; None is null."""
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [_validity(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def integers(values: Sequence[int | None] | NDArray[np.int64]) -> pa.Array:
    """A column of int64; None is null."""
    if isinstance(values, np.ndarray):
        whole, validity = np.ascontiguousarray(values), None
    else:
        whole, validity = np.array([value or 0 for value in values], np.int64), _validity(values)
    return pa.Array.from_buffers(pa.int64(), len(whole), [validity, pa.py_buffer(whole)])


def _validity(values: Sequence[object]) -> pa.Buffer | None:
    if None not in values:
        return None
    known = np.array([value is not None for value in values], np.uint8)
    return pa.py_buffer(np.packbits(known, bitorder="little"))
