"""What is still to be mirrored: one JSON file per flow run or stage under `home()/mirror/pending`.

An entry is written before MLflow is first asked and removed when MLflow has everything, so whatever happens in
between (the server down, the process killed) leaves behind what `sync` needs. Whoever works on an entry holds its
lock; an entry that is not locked and still says "running" belongs to a process that was killed.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from tasks.lineage.home import home

State = Literal["running", "ran", "cached", "failed", "killed"]


class Input(BaseModel):
    """An input artifact as the mirror needs it."""

    kind: str
    digest: str
    key: str


class Entry(BaseModel):
    """Everything MLflow is to be told about one flow run or one stage."""

    id: str
    role: Literal["flow", "stage"]
    name: str
    started: int  # milliseconds since 1970, as MLflow counts
    ended: int | None = None
    run_id: str | None = None
    begun: bool = False  # the run exists with its parameters, tags and inputs
    parent_run_id: str | None = None
    flow_run_id: str = ""
    prefect: dict[str, str] = {}
    parameters: dict[str, str] = {}
    key: str = ""
    inputs: dict[str, Input] = {}
    state: State = "running"
    metrics_file: str | None = None
    record: dict[str, Any] | None = None
    output: str | None = None
    error: str | None = None
    refusals: int = 0  # how often MLflow said that something in it is wrong

    @property
    def path(self) -> Path:
        return _folder() / f"{self.id}.json"

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(self.model_dump_json(indent=1))
        draft.replace(self.path)

    def remove(self) -> None:
        """Everything of it: MLflow has it now."""
        for path in (self.path, self.kept_metrics, self.lock):
            path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Keeps the entry for a person to look at; `sync` passes it over. Returns where it is now."""
        aside = self.path.with_suffix(".refused")
        self.path.replace(aside)
        self.lock.unlink(missing_ok=True)
        return aside

    @property
    def lock(self) -> Path:
        return _folder() / f"{self.id}.lock"

    @property
    def kept_metrics(self) -> Path:
        return _folder() / f"{self.id}.metrics.jsonl"

    def keep_metrics(self) -> None:
        """A copy of the metrics that outlives the stage's work folder."""
        if self.metrics_file and Path(self.metrics_file).is_file() and Path(self.metrics_file) != self.kept_metrics:
            shutil.copyfile(self.metrics_file, self.kept_metrics)
            self.metrics_file = str(self.kept_metrics)


def new_entry(role: Literal["flow", "stage"], name: str, **what: Any) -> Entry:
    """An entry that sorts by the time it was made."""
    now = now_milliseconds()
    return Entry(id=f"{now}-{os.getpid()}-{uuid.uuid4().hex[:8]}", role=role, name=name, started=now, **what)


def now_milliseconds() -> int:
    return time.time_ns() // 1_000_000


def hold(entry: Entry) -> int:
    """Takes the entry's lock and returns what `release` needs; it goes by itself when the process ends."""
    entry.lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(entry.lock, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def release(descriptor: int) -> None:
    os.close(descriptor)


@contextmanager
def abandoned() -> Iterator[list[Entry]]:
    """The entries nobody works on, oldest first, flows before stages; held until the block ends."""
    held: list[tuple[Entry, int]] = []
    for path in sorted(_folder().glob("*.json")):
        try:
            entry = Entry.model_validate_json(path.read_text())
            descriptor = hold(entry)
        except (BlockingIOError, FileNotFoundError):
            continue  # its owner is at work, or has just finished
        except (ValidationError, ValueError):
            path.replace(path.with_suffix(".damaged"))
            continue
        if entry.path.exists():
            held.append((entry, descriptor))
        else:
            entry.lock.unlink(missing_ok=True)
            release(descriptor)
    try:
        yield sorted((entry for entry, _ in held), key=lambda entry: (entry.role != "flow", entry.id))
    finally:
        for _, descriptor in held:
            release(descriptor)


def count() -> int:
    """How many flow runs and stages MLflow has not been told of in full."""
    return len(list(_folder().glob("*.json")))


def _folder() -> Path:
    return home() / "mirror" / "pending"
