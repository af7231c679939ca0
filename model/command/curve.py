"""The figures of each step in a JSONL file that a resumed run continues as if it had never stopped."""

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from model.files import write_whole

# None that tells how fast the machine is.
FIGURES = ("loss", "lr", "grad_norm", "skipped", "skipped_updates", "held_out_bits_per_byte")


class Curve:
    """A line for each step. Steps after the checkpoint that a run goes on from are written again, and the same.

    say: told where lines of earlier steps have been lost, which nothing can bring back.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self._say = path, say

    def __enter__(self) -> Self:
        self._file = self.path.open("ab+")
        self._first = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Writes the figures of `step`, counted from 1."""
        if self._first:
            self._first = False
            self._cut(step)
        line = {"step": step, **{name: figures[name] for name in FIGURES if name in figures}}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _cut(self, step: int) -> None:
        """Leaves the lines of the steps before `step`."""
        self._file.seek(0)
        lines = self._file.readlines()
        kept = [line for line in lines if 0 < _step_of(line) < step]
        if len(kept) < step - 1:
            self._say(f"{self.path} has lost the figures of {step - 1 - len(kept):,} of the {step - 1:,} steps made")
        if lines[: len(kept)] != kept:
            write_whole(self.path, b"".join(kept))
            self._file.close()
            self._file = self.path.open("ab+")
        self._file.truncate(sum(map(len, kept)))


def _step_of(line: bytes) -> int:
    """The step that a line tells of; 0 for none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return 0


def last_figures(path: Path) -> dict[str, Any]:
    """The figures of the last step."""
    with path.open("rb") as file:
        (last,) = deque(file, maxlen=1)
    found: dict[str, Any] = json.loads(last)
    return found
