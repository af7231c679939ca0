"""The figures of each step in a JSONL file that a resumed run continues as if it had never stopped."""

import json
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# None that tells how fast the machine is.
FIGURES = ("loss", "lr", "grad_norm", "skipped", "skipped_updates", "held_out_bits_per_byte")


class Curve:
    """A line for each step. Steps after the checkpoint that a run goes on from are written again, and the same."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        """Leaves the lines of the steps before `step`: line n is step n."""
        self._file.seek(0)
        length = sum(len(line) for _, line in zip(range(step - 1), self._file, strict=False))
        self._file.truncate(length)


def last_figures(path: Path) -> dict[str, Any]:
    """The figures of the last step."""
    with path.open("rb") as file:
        (last,) = deque(file, maxlen=1)
    found: dict[str, Any] = json.loads(last)
    return found
