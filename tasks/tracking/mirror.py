"""The mirror in MLflow: what the engine and the flows call. MLflow is never the source of truth, only a window.

Everything is first written to `home()/mirror/pending` and removed from there when MLflow has it, so no call here
fails or waits long because MLflow is down: `sync` catches up, by hand (`pedigree sync`) and at the next flow.
Without MLFLOW_TRACKING_URI nothing is mirrored.
"""

import importlib
import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tasks.lineage.artifact import Artifact
from tasks.lineage.record import Record
from tasks.tracking import page_queue, pending, server
from tasks.tracking.metrics_rows import MetricsTail
from tasks.tracking.pending import Entry, Input
from tasks.tracking.server import experiment_url, run_url

__all__ = ["StageMirror", "close_flow", "experiment_url", "open_flow", "open_stage", "run_url", "sync"]

FOLLOW_SECONDS = 5.0
JOIN_SECONDS = 15.0  # a request that hangs longer is left to the next sync

PAGES_SECONDS = 1.0  # a flow waits for its lineage pages; what is not drawn by then waits for the next sync

MOST_REFUSALS = 3  # what MLflow calls wrong this often will not become right

logger = logging.getLogger("pedigree.tracking")
_open_flows: dict[str, tuple[Entry, int]] = {}  # entry id → entry and lock, of flows this process runs
_catching_up: list[threading.Thread] = []


def open_flow(flow: str, flow_run_id: str, prefect_url: str | None, parameters: Mapping[str, Any]) -> str | None:
    """The MLflow run of a flow run, which its stages' runs nest under; None while MLflow is down or not named."""
    if server.address() is None:
        return None
    prefect = {"flow_run_url": prefect_url} if prefect_url else {}
    entry = pending.new_entry("flow", flow, flow_run_id=flow_run_id, prefect=prefect, parameters=flatten(parameters))
    _open_flows[entry.id] = (entry, pending.hold(entry))
    entry.save()
    _attempt(entry, "begin")
    behind = pending.count() > len(_open_flows) or page_queue.waiting()
    page_queue.add(flow_run_id)  # now, for a flow that is killed
    if server.answers() and behind:
        thread = threading.Thread(target=sync, name="mirror-sync", daemon=True)
        _catching_up.append(thread)
        thread.start()
    return entry.run_id


def close_flow(mlflow_run_id: str | None, state: Literal["FINISHED", "FAILED"]) -> None:
    """Ends the run that `open_flow` made in this process; without an id, the one that could not be made then."""
    for identifier, (entry, lock) in list(_open_flows.items()):
        if entry.run_id == mlflow_run_id or mlflow_run_id is None:
            entry.state = "ran" if state == "FINISHED" else "failed"
            entry.ended = pending.now_milliseconds()
            entry.save()
            if _attempt(entry, "begin", "end"):
                entry.remove()
            else:
                entry.save()
            pending.release(lock)
            del _open_flows[identifier]
            page_queue.add(entry.flow_run_id)
            _draw_pages(entry.flow_run_id, PAGES_SECONDS)
            break
    while _catching_up:
        _catching_up.pop().join(JOIN_SECONDS)


def open_stage(
    stage: str,
    parent_run_id: str | None,
    key: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    prefect: Mapping[str, str],
    wait: bool = False,
) -> "StageMirror":
    """The mirror of one stage, with its MLflow run already made if MLflow answers.

    wait: keep what there is to tell even where no server is named yet; the next one is told.
    """
    if server.address() is None and not wait:
        return StageMirror(None)
    entry = pending.new_entry(
        "stage",
        stage,
        parent_run_id=parent_run_id,
        flow_run_id=prefect.get("flow_run_id", ""),
        prefect=dict(prefect),
        parameters=flatten(config),
        key=key,
        inputs={name: Input(kind=a.kind, digest=a.digest, key=a.key) for name, a in inputs.items()},
    )
    mirror = StageMirror(entry)
    entry.save()
    _attempt(entry, "begin")
    return mirror


class StageMirror:
    """One stage's run in MLflow. `run_id` is None while there is none."""

    def __init__(self, entry: Entry | None) -> None:
        self._entry = entry
        self._lock = pending.hold(entry) if entry else -1
        self._tail: MetricsTail | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def run_id(self) -> str | None:
        return self._entry.run_id if self._entry else None

    def follow(self, metrics_file: Path) -> None:
        """Mirrors rows {"step", "time", "metrics"} as they are appended to the file, every few seconds."""
        if self._entry is None or self._thread is not None:
            return
        self._entry.metrics_file = str(metrics_file)
        self._entry.save()
        self._tail = MetricsTail(metrics_file)
        self._thread = threading.Thread(target=self._follow, name=f"mirror-{self._entry.name}", daemon=True)
        self._thread.start()

    def finish(
        self,
        state: Literal["ran", "cached", "failed"],
        record: Record | None,
        output: Path | None,
        error: str | None = None,
    ) -> None:
        """Says how the stage ended. What MLflow cannot be told now waits in the pending folder."""
        entry = self._entry
        if entry is None:
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
        entry.state, entry.error, entry.ended = state, error, pending.now_milliseconds()
        entry.record = record.model_dump(mode="json") if record is not None else None
        entry.output = str(output) if output is not None else None
        entry.save()
        stuck = self._thread is not None and self._thread.is_alive()
        if not stuck and _attempt(entry, "begin", "figures", "end", tail=self._tail):
            entry.remove()
        else:
            entry.keep_metrics()
            entry.save()
        pending.release(self._lock)

    def _follow(self) -> None:
        assert self._entry is not None
        while not self._stop.wait(FOLLOW_SECONDS):
            _attempt(self._entry, "figures", tail=self._tail)


def sync() -> int:
    """Mirrors what is pending and nobody is at work on; returns how many flow runs and stages MLflow now has."""
    server.forget_probes()
    if not server.answers():
        return 0
    done = 0
    with pending.abandoned() as entries:
        for entry in entries:
            if entry.state == "running":
                entry.state = "killed"
                entry.ended = pending.now_milliseconds()
            if _attempt(entry, "begin", "figures", "end"):
                entry.remove()
                done += 1
            elif entry.refusals >= MOST_REFUSALS:
                logger.warning("MLflow refuses %s for good; it is kept as %s", entry.name, entry.set_aside())
            elif entry.refusals:
                entry.save()
            elif not server.answers():
                break
    unfinished = {entry.flow_run_id for entry, _ in _open_flows.values()}
    for flow_run_id in page_queue.waiting():
        if flow_run_id not in unfinished:
            _draw_pages(flow_run_id)
    return done


def _draw_pages(flow_run_id: str, seconds: float = math.inf) -> None:
    """The lineage pages that a flow changed, within so many seconds; the rest stays in the queue."""
    if not server.answers():
        return
    until = time.monotonic() + seconds
    runs, pages = (importlib.import_module(f"tasks.tracking.{name}") for name in ("runs", "pages"))
    finished = page_queue.done(flow_run_id)
    try:
        client = runs.connect()
        if pages.refresh(client, runs.experiment_id(client), flow_run_id, finished, until):
            page_queue.remove(flow_run_id)
            return
    except Exception as error:  # as in _attempt
        logger.debug("the lineage pages of %s failed", flow_run_id, exc_info=True)
        if not runs.refused(error):
            server.distrust()
        logger.warning("lineage pages wait for `pedigree sync`: %s", _brief(error))
    page_queue.keep(flow_run_id, finished)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `name.inner: text`; lists of plain values stay one parameter, lists of groups are numbered."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            flat |= flatten({str(number): item for number, item in enumerate(value)}, f"{path}.")
        else:
            flat[path] = "" if value is None else str(value)
    return flat


def _attempt(entry: Entry, *steps: Literal["begin", "figures", "end"], tail: MetricsTail | None = None) -> bool:
    """Takes the steps in MLflow; False, with a warning in the log, when MLflow does not take them."""
    if not server.answers():
        return False
    runs = importlib.import_module("tasks.tracking.runs")  # imports mlflow, 1.5 s, only where there is a server
    try:
        client = runs.connect()
        for step in steps:
            if step == "begin" and not entry.begun:
                runs.begin(client, entry)
            elif step == "figures":
                _send_figures(client, runs, entry, tail)
            elif step == "end":
                runs.end(client, entry)
    except Exception as error:  # whatever a server or network does must not end the training
        logger.debug("the mirror of %s failed", entry.name, exc_info=True)
        if runs.refused(error):
            entry.refusals += 1
            if runs.run_is_gone(error):
                entry.run_id, entry.parent_run_id, entry.begun = None, None, False
        else:
            server.distrust()
        logger.warning("MLflow was not told of %s yet, `pedigree sync` will try again: %s", entry.name, _brief(error))
        return False
    return True


def _send_figures(client: Any, runs: Any, entry: Entry, tail: MetricsTail | None) -> None:
    if tail is None:
        if entry.metrics_file is None:
            return
        tail = MetricsTail(Path(entry.metrics_file))
    if not entry.begun:
        runs.begin(client, entry)
    figures = tail.new_figures()
    try:
        runs.log_figures(client, entry.run_id, figures)
    except Exception:
        tail.rewind(figures)
        raise


def _brief(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
