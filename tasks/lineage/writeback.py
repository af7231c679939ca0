"""What the system holds of files in memory: on its way to the disk while the stage that wrote it still works, since its
end would wait for all at once; and let go once it was read, since new memory may cost more than what is written to it.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

_SYNC_FILE_RANGE_WRITE = 2  # of linux/fs.h


def begin_writing(path: Path) -> None:
    """Let the disk begin to write what a file holds, and don't wait. On another system than Linux nothing happens; nor
    where it fails, since whoever makes the file durable is told then."""
    if (begin := _sync_file_range()) is not None:
        _ask(begin, path, _SYNC_FILE_RANGE_WRITE)


def let_go(path: Path) -> None:
    """Let the system forget what it holds of a file that nobody will soon read again; what is not on the disk yet
    stays. Where that cannot be asked for, nothing happens."""
    if hasattr(os, "posix_fadvise"):
        _ask(os.posix_fadvise, path, os.POSIX_FADV_DONTNEED)


def _ask(function: Callable[[int, int, int, int], object], path: Path, what: int) -> None:
    """Call the function with a file, all of it, and what is asked for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            function(descriptor, 0, 0, what)
        finally:
            os.close(descriptor)


@cache
def _sync_file_range() -> Callable[..., int] | None:
    """``int sync_file_range(int file, off64_t begin, off64_t num_bytes, unsigned flags)``; no bytes are all."""
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function
