"""Files on their way to the disk while the stage that wrote them still works; else its end waits for all at once."""

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
    begin = _sync_file_range()
    if begin is None:
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            begin(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)
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
