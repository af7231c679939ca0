"""Follows a flow run until it ends: a live table in a terminal, plain lines anywhere else.

What the stages do is read from the journal, whether the run is still alive from Prefect.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from flows.errors import RunFailed
from flows.figures import duration, main_figure, progress
from flows.prefect_api import TERMINAL_STATES, PrefectApi
from tasks.lineage import journal

LOOK_SECONDS = 0.5
ASK_SECONDS = 3.0  # Prefect, while the journal says that stages are at work: each answer costs it some computing
PLAIN_PROGRESS_SECONDS = 10.0
MARKS = {"running": "▸ running", "ran": "✓ ran", "cached": "= cached", "failed": "✗ failed"}


class View(Protocol):
    def __call__(self, run: dict[str, Any], flow: dict[str, Any] | None) -> None: ...


def follow(api: PrefectApi, flow_run_id: str, view: View, worker_alive: Callable[[], bool]) -> dict[str, Any]:
    """Shows the run with `view` until it ends, and returns Prefect's last word on it.

    Raises RunFailed when the worker ends before the run does: nobody would start or finish it.
    """
    run: dict[str, Any] | None = None
    asked = -math.inf
    while True:
        flow = journal.read_flow(flow_run_id)
        at_work = flow is not None and flow["state"] == "running"
        if run is None or not at_work or time.monotonic() - asked > ASK_SECONDS:
            run, asked = api.flow_run(flow_run_id), time.monotonic()
            if run is None:
                raise RunFailed("The flow run was deleted while it ran.")
            flow = journal.read_flow(flow_run_id)  # after Prefect's answer: the last word on a run that ended
        view(run, flow)
        if run["state"]["type"] in TERMINAL_STATES:
            return run
        if not worker_alive():
            raise RunFailed(
                "The worker has ended, so nothing works on this run (see worker.log in the state folder's logs). "
                "`pedigree run` starts a new one: finished stages are kept, the current one goes on from where it was."
            )
        time.sleep(LOOK_SECONDS)


class LiveTable(AbstractContextManager["LiveTable"]):
    """A table that redraws itself: a row per stage met so far."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __call__(self, run: dict[str, Any], flow: dict[str, Any] | None) -> None:
        table = Table(title=f"{run['name']} · {waiting(run) or run['state']['name']}", title_justify="left")
        for column in ("stage", "state", "time", "progress"):
            table.add_column(column)
        for name, entry in ((flow or {}).get("stages") or {}).items():
            done = entry["state"] != "running"
            table.add_row(
                name,
                MARKS.get(entry["state"], entry["state"]),
                duration(entry.get("seconds") if done else _since(entry)),
                main_figure(name, entry.get("metrics") or {}) if done else progress(entry),
            )
        self._live.update(table, refresh=True)

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class PlainLines(AbstractContextManager["PlainLines"]):
    """A line whenever a stage begins or ends, and its progress now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._last = 0.0

    def __call__(self, run: dict[str, Any], flow: dict[str, Any] | None) -> None:
        self._say_once("", waiting(run))
        for name, entry in ((flow or {}).get("stages") or {}).items():
            state = entry["state"]
            figure = main_figure(name, entry.get("metrics") or {})
            took = f" in {duration(entry.get('seconds'))}" if state == "ran" else ""
            self._say_once(name, f"{name}: {state}{took}{'. ' + figure if figure and state != 'running' else ''}")
            if state == "running" and time.monotonic() - self._last > PLAIN_PROGRESS_SECONDS and progress(entry):
                self._last = time.monotonic()
                self._print(f"{name}: {progress(entry)}")

    def _say_once(self, name: str, line: str) -> None:
        if line and self._states.get(name) != line:
            self._states[name] = line
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        return None


def waiting(run: dict[str, Any]) -> str:
    """Why a run has not begun yet; empty when it has."""
    if run["state"]["name"] in ("AwaitingConcurrencySlot", "Late"):
        return "waiting for its turn: another flow run is at work"
    return ""


def _since(entry: dict[str, Any]) -> float | None:
    started = entry.get("started")
    return max(0.0, time.time() - _seconds(started)) if started else None


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
