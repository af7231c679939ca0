"""What a stage function is given to work with: where to write, where to resume, what to report to."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tasks.lineage.config import Resources
from tasks.lineage.errors import StageError
from tasks.lineage.parallel import Mapper, Piece, Result, on_this_machine

PROGRESS_SECONDS = 0.5  # at most two journal entries a second


Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[Any]"


class StageRun:
    """One attempt at a stage.

    output: empty folder for the result; its bytes must be a pure function of inputs and settings.
    work: folder of this key that outlives attempts and `kill -9`: checkpoints, finished shards.
    logger: standard logger, shown in the Prefect UI.
    metrics_file: what `log_metrics` appends to.
    """

    def __init__(
        self,
        output: Path,
        work: Path,
        metrics_file: Path,
        logger: Logger,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        mapper: Mapper | None = None,
    ) -> None:
        self.output = output
        self.work = work
        self.logger = logger
        self.pure = True
        self.not_followed: dict[str, Any] = {}  # resources that the stage does without, and what it did instead
        self.metrics_file = metrics_file
        self._on_progress = on_progress
        self._mapper = mapper or on_this_machine(Resources())
        self._lock = threading.Lock()
        self._last_shown = -math.inf
        self._first: tuple[float, float] | None = None  # (time, step) where this attempt began

    def depends_on_outside(self) -> None:
        """Say that this output does not follow from inputs and settings alone: a file changed while it was read. It is
        stored, but not found again by its key: the next run makes it anew."""
        self.pure = False

    def without(self, resources: Resources, *names: str) -> Resources:
        """The resources with these settings at their defaults, since the stage cannot follow them. Where one was asked
        for, the log says so, and the record's numerics say what was done."""
        for name in names:
            asked, default = getattr(resources, name), Resources.model_fields[name].default
            if asked != default:
                self.not_followed[name] = default
                self.logger.warning("resources.%s=%s is not for this stage, which goes on without", name, asked)
        return resources.model_copy(update=self.not_followed)

    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        """Record figures: a point of a curve at `step`, or without it a summary figure of the stage.

        A step logged again (after a resume) replaces the earlier one. Raises StageError for what is not a number.
        """
        values = {name: _number(name, value) for name, value in metrics.items()}
        row = json.dumps({"step": step, "time": time.time(), "metrics": values})
        with self._lock, self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(row + "\n")

    def map(self, function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
        """`function` of each piece, in the order of the pieces, on the workers that `resources` names.

        The function is one of a module, or a `partial` of one. Pieces and results are pickled; a piece is a few
        megabytes of work, and so is what it makes at most. The first error is raised here.
        """
        return self._mapper(function, pieces)

    def progress(self, step: float, total: float, **figures: float) -> None:
        """Show how far the stage is; call it as often as you like. `figures` such as loss or tokens_per_second."""
        moment = time.monotonic()
        with self._lock:
            if self._first is None:
                self._first = (moment, step)
            if self._on_progress is None or (moment - self._last_shown < PROGRESS_SECONDS and step < total):
                return
            self._last_shown = moment
            began, first = self._first
        done = step - first
        eta = (moment - began) / done * (total - step) if done > 0 else None
        self._on_progress({"step": step, "total": total, "eta_seconds": eta, **figures})


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, the last one per (step, name) winning, in the order of steps; summary rows last.

    Each row is {"step": int | None, "time": seconds, "metrics": {name: value}}. A torn last line (kill -9 while it was
    written) is left out.
    """
    last: dict[tuple[int | None, str], tuple[float, float]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        for name, value in row["metrics"].items():
            last[row["step"], name] = (row["time"], value)
    rows: dict[int | None, dict[str, Any]] = {}
    for (step, name), (moment, value) in last.items():
        row = rows.setdefault(step, {"step": step, "time": moment, "metrics": {}})
        row["time"] = max(row["time"], moment)
        row["metrics"][name] = value
    return sorted(rows.values(), key=lambda row: math.inf if row["step"] is None else row["step"])


def summary(path: Path) -> dict[str, float]:
    """The summary figures (those logged without a step) of a metrics file."""
    return {name: value for row in read_metrics(path) if row["step"] is None for name, value in row["metrics"].items()}


def _number(name: str, value: Any) -> float | int:
    if isinstance(value, bool | int):
        return int(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise StageError(f"the metric {name!r} is {value!r}; log numbers only") from None
