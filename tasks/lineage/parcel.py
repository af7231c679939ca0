"""Arrays that a worker process sends in a file: a pipe would take pickled bytes, which are copied on either side, in
small portions each of which waits for the receiver.

Threads and the caller's own work need no file, so none is written before an array leaves its process.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Parcel:
    """An array (N,), and the folder that its file would lie in, such as the `work` of a run. file: it came in this one,
    which is there until `discard`, however often it is opened."""

    array: np.ndarray
    folder: Path
    file: Path | None = None

    def __reduce__(self) -> tuple[Callable[..., Parcel], tuple[Path, np.dtype]]:
        file = self.folder / uuid.uuid4().hex
        self.array.tofile(file)
        return _opened, (file, self.array.dtype)

    def discard(self) -> None:
        """Remove the file. The array can still be read."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def _opened(file: Path, dtype: np.dtype) -> Parcel:
    array = np.memmap(file, dtype, "r") if file.stat().st_size else np.zeros(0, dtype)  # nothing cannot be mapped
    return Parcel(array, file.parent, file)
