"""What a worker process makes, sent to the one that asked for it, large arrays and tables beside the pipe.

A pipe takes a few kilobytes at a time, each of which waits for the receiver, which may be busy. So where Linux can, the
bytes of arrays and tables lie in a nameless file in memory, which the receiver reads at once when it is told of it. It
goes when the worker does, and is written again: new pages may take five times as long to get as what they hold.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, cycle, pairwise
from typing import TypeVar

import numpy as np

Piece = TypeVar("Piece")
Result = TypeVar("Result")

LARGE = 1 << 15  # bytes; a pipe holds twice as many
_FILES = 2  # of a worker, in turn: what it made last is read before it begins the piece after the next
_ALIGNED = 64  # bytes, as Arrow likes its arrays to begin


@dataclass(frozen=True)
class Sent:
    """A result without its arrays. sizes: of these, in bytes; process and file: who has them in which open file."""

    pickled: bytes
    sizes: list[int]
    process: int
    file: int


def send(function: Callable[[Piece], Result], piece: Piece) -> Result | Sent:
    """In a worker: `function` of the piece, as it is to be sent to who calls `receive`."""
    result = function(piece)
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [view.nbytes for view in views]
    if sum(sizes) < LARGE or (files := _files()) is None:
        return result
    number = next(files)
    try:
        with open(number, "wb", closefd=False) as file:
            for view, begin in zip(views, _begins(sizes), strict=False):
                file.seek(begin)
                file.write(view)
            file.truncate()  # a larger one before holds its memory no longer
    except OSError:  # no memory for it: then as all else is sent
        return result
    return Sent(pickled, sizes, os.getpid(), number)


def receive(sent: Result | Sent) -> Result:
    """The result. Raises BrokenExecutor where the worker is gone."""
    if not isinstance(sent, Sent):
        return sent
    begins = _begins(sent.sizes)
    data = np.empty(begins[-1], np.uint8).data
    try:
        with open(f"/proc/{sent.process}/fd/{sent.file}", "rb", buffering=0) as file:
            done = 0
            while done < begins[-2] + sent.sizes[-1]:
                done += file.readinto(data[done:]) or _missing()
    except OSError as error:
        raise BrokenExecutor("a worker process ended before what it made was read") from error
    buffers = [data[begin : begin + size] for (begin, _), size in zip(pairwise(begins), sent.sizes, strict=True)]
    result: Result = pickle.loads(sent.pickled, buffers=buffers)
    return result


def _missing() -> int:
    raise OSError("the file is shorter than it was said to be")


def _begins(sizes: list[int]) -> list[int]:
    """Where each array begins in the file, and where one more would."""
    return list(accumulate((-(-size // _ALIGNED) * _ALIGNED for size in sizes), initial=0))


@cache
def _files() -> Iterator[int] | None:
    """The files of this process, in turn; None where there are no such files."""
    try:
        return cycle([os.memfd_create("results") for _ in range(_FILES)])
    except (AttributeError, OSError):
        return None
