"""Reads the metrics that a stage appends to its `metrics.jsonl`, while it is being written and after."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_NOT_IN_A_NAME = re.compile(r"[^\w./: -]")


class Figure(NamedTuple):
    """One value of one metric. `step` is None for a figure of the whole stage; `milliseconds` since 1970."""

    name: str
    value: float
    step: int | None
    milliseconds: int


@dataclass
class MetricsTail:
    """What was added to the file since the last look.

    A last line without its line end is still being written and is left for the next look. A step that a killed
    attempt already reported is reported once, though a resumed attempt writes it again: resuming repeats the same
    values. Lines that are no JSON (the torn end of a killed attempt) are passed over.
    """

    path: Path
    offset: int = 0
    _before: int = 0
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def new_figures(self) -> list[Figure]:
        self._before = self.offset
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self.offset:  # begun anew
                    self.offset = self._before = 0
                    self._seen.clear()
                file.seek(self.offset)
                block = file.read()
        except FileNotFoundError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [figure for line in whole.splitlines() for figure in self._figures(line)]

    def rewind(self, figures: list[Figure]) -> None:
        """Takes back the last look, whose figures could not be delivered."""
        self.offset = self._before
        self._seen -= {(figure.name, figure.step) for figure in figures if figure.step is not None}

    def _figures(self, line: bytes) -> list[Figure]:
        try:
            row: dict[str, Any] = json.loads(line)
            step, milliseconds, metrics = row.get("step"), int(float(row["time"]) * 1000), dict(row["metrics"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return []
        figures = []
        for name, value in metrics.items():
            if isinstance(value, bool | int | float) and (step is None or (name, step) not in self._seen):
                figures.append(Figure(mlflow_name(name), float(value), step, milliseconds))
                if step is not None:
                    self._seen.add((name, step))
        return figures


def mlflow_name(name: str) -> str:
    """The name as MLflow accepts it: letters, digits, `_-. :/`, and no empty or dotted path parts."""
    parts = [part for part in _NOT_IN_A_NAME.sub("_", name).split("/") if part.strip(". ")]
    return "/".join(parts)[:250] or "unnamed"
