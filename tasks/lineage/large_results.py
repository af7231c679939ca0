"""What a worker process makes, sent to the one that asked for it, large arrays and tables beside the pipe.

A pipe takes a few kilobytes at a time, each of which waits for the receiver, which may be busy. So where Linux can, the
bytes of arrays and tables lie in a nameless file in memory, which the receiver reads at once when it is told of it. It
goes when the worker does, and once read is written again: new pages may take five times as long to get as what they
hold.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np

Piece = TypeVar("Piece")
Result = TypeVar("Result")

LARGE = 1 << 15  # bytes; a pipe holds twice as many
_UNREAD, _READ = b"0", b"1"  # how a file begins
_ALIGNED = 64  # bytes: arrays begin at multiples, as Arrow likes them to
_own_files: list[int] = []  # of this process


@dataclass(frozen=True)
class Sent:
    """A result without its arrays. sizes: of these, in bytes; process and file: who has them in which open file."""

    pickled: bytes
    sizes: list[int]
    process: int
    file: int


def send(function: Callable[[Piece], Result], piece: Piece) -> Result | Sent:
    """In a worker: `function` of the piece, as it is to be sent to who calls `receive`, once."""
    result = function(piece)
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [view.nbytes for view in views]
    if sum(sizes) < LARGE:
        return result
    try:
        number = _free_file()
    except (AttributeError, OSError):  # no such files: then as all else is sent
        return result
    try:
        with open(number, "wb", closefd=False) as file:
            for view, begin in zip([memoryview(_UNREAD), *views], [0, *_begins(sizes)], strict=False):
                file.seek(begin)
                file.write(view)
            file.truncate()  # a larger one before holds its memory no longer
    except OSError:  # no memory for it: what there was is given back
        os.ftruncate(number, 0)
        return result
    return Sent(pickled, sizes, os.getpid(), number)


def receive(sent: Result | Sent) -> Result:
    """The result. Raises BrokenExecutor where the worker is gone."""
    if not isinstance(sent, Sent):
        return sent
    begins = _begins(sent.sizes)
    data = np.empty(begins[-1], np.uint8).data
    try:
        with open(f"/proc/{sent.process}/fd/{sent.file}", "r+b", buffering=0) as file:
            done = 0
            while done < begins[-2] + sent.sizes[-1]:
                done += file.readinto(data[done:]) or _missing()
            file.seek(0)
            file.write(_READ)
    except OSError as error:
        raise BrokenExecutor(f"a worker process ended before what it made was read ({error})") from error
    buffers = [data[begin : begin + size] for (begin, _), size in zip(pairwise(begins), sent.sizes, strict=True)]
    result: Result = pickle.loads(sent.pickled, buffers=buffers)
    return result


def _missing() -> int:
    raise OSError("the file is shorter than it was said to be")


def _begins(sizes: list[int]) -> list[int]:
    """Where each array begins in the file, and where one more would."""
    return list(accumulate((-(-size // _ALIGNED) * _ALIGNED for size in sizes), initial=_ALIGNED))


def _free_file() -> int:
    """A file that was read, or is empty, or a new one."""
    for number in _own_files:
        if os.pread(number, 1, 0) != _UNREAD:
            return number
    _own_files.append(os.memfd_create("results"))
    return _own_files[-1]
