"""Arrays in files, of which memory holds only what is being looked at."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

_RELEASE_BYTES = 8 << 20  # taken from one array before its pages are given back


class MappedArray:
    """A one- or two-dimensional array in a file. Pages that were read count as this process's memory until given back,
    so they are given back every few megabytes; the system keeps them at hand where it has room."""

    def __init__(self, path: Path, dtype: type, columns: int | None = None) -> None:
        row_bytes = np.dtype(dtype).itemsize * (columns or 1)
        count = path.stat().st_size // row_bytes
        shape = (count,) if columns is None else (count, columns)
        self._row_bytes, self._taken = row_bytes, 0
        self._map: mmap.mmap | None = None
        if count:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):
                self._map.madvise(mmap.MADV_RANDOM)
        self._array = np.ndarray(shape, dtype, self._map) if self._map is not None else np.zeros(shape, dtype)

    def __len__(self) -> int:
        return len(self._array)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """A copy of some rows."""
        result: np.ndarray = self._array[rows]
        self._taken += max(len(rows) * self._row_bytes, len(rows) * mmap.PAGESIZE // 8)
        if self._taken > _RELEASE_BYTES and self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._taken = 0
        return result

    def all(self) -> np.ndarray:
        """A copy of the whole."""
        return self._array.copy()
