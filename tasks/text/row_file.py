"""Reading single rows of arrays in files. A memory map would count every page it touches, and its neighbours, as this
process's memory; so rows are read, those that lie together at once. A small file is read whole."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import numpy as np

SMALL = 12 << 20  # bytes
TOO_SHORT = "the file is shorter than its index says"


class RowFile:
    """A one-dimensional array, or rows of `columns` values, in a file. file: its descriptor."""

    def __init__(self, path: Path, dtype: np.dtype | type, columns: int = 1) -> None:
        self._dtype, self._columns = np.dtype(dtype), columns
        self._row_bytes = self._dtype.itemsize * columns
        self.file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)
        size = os.fstat(self.file).st_size
        self._count = size // self._row_bytes
        self._whole = os.pread(self.file, size, 0) if size <= SMALL else None

    def __len__(self) -> int:
        return self._count

    def ranges(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The values of the rows begins[i]:ends[i], one range after the other. Raises ValueError where there are none.

        begins, ends: (R,) int64.
        """
        if not len(begins):
            return np.frombuffer(b"", self._dtype)  # read-only as any other, or machine code is made for it anew
        starts = np.ones(len(begins), bool)
        starts[1:] = begins[1:] != ends[:-1]  # ranges that touch are one
        firsts = np.flatnonzero(starts)
        low = begins[firsts] * self._row_bytes
        high = ends[np.append(firsts[1:], len(begins)) - 1] * self._row_bytes
        places = zip(low.tolist(), high.tolist(), strict=True)
        if self._whole is None:
            pieces = [os.pread(self.file, end - begin, begin) for begin, end in places]
        else:
            pieces = [self._whole[begin:end] for begin, end in places]
        found = np.frombuffer(b"".join(pieces), self._dtype)
        if found.nbytes != (high - low).sum():
            raise ValueError(TOO_SHORT)
        return found

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Some rows, (R, columns). Raises ValueError where there are none."""
        if self._whole is not None:
            if numbers.max(initial=-1) >= self._count:
                raise ValueError(TOO_SHORT)
            values = np.frombuffer(self._whole, self._dtype, self._count * self._columns)
            return values.reshape(self._count, self._columns)[numbers]
        return self.ranges(numbers, numbers + 1).reshape(len(numbers), self._columns)
