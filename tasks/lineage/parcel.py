"""Arrays that a worker process sends in a file: a pipe would take pickled bytes, which are copied on either side, in
small portions each of which waits for the receiver.

Threads and the caller's own work need no file, so none is written before an array leaves its process. A file that was
read is written again: the system has its pages already, and new ones may take five times as long as what they hold.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FREE = ".free"  # the suffix of files that may be written again


@dataclass(frozen=True)
class Parcel:
    """An array (N,), and the folder that its file would lie in, such as the `work` of a run. file: it came in this one,
    which is its own until `discard`, however often it is opened."""

    array: np.ndarray
    folder: Path
    file: Path | None = None

    def __reduce__(self) -> tuple[Callable[..., Parcel], tuple[Path, int, np.dtype]]:
        file = self.folder / uuid.uuid4().hex
        with _claimed(file).open("r+b") as output:
            self.array.tofile(output)
        return _opened, (file, len(self.array), self.array.dtype)

    def discard(self) -> None:
        """Leave the file to the next parcel: the array must not be read any more."""
        if self.file is not None:
            self.file.rename(self.file.with_suffix(_FREE))


def _claimed(file: Path) -> Path:
    """The file; one that is free, under a new name, or an empty one."""
    for free in file.parent.glob(f"*{_FREE}"):
        try:
            return free.rename(file)
        except FileNotFoundError:  # another process was sooner
            continue
    file.touch()
    return file


def _opened(file: Path, length: int, dtype: np.dtype) -> Parcel:
    array = np.memmap(file, dtype, "r", shape=length) if length else np.zeros(0, dtype)  # nothing cannot be mapped
    return Parcel(array, file.parent, file)
