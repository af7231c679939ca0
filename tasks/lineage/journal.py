"""The journal: what is running now and what ran, one folder of small JSON files per flow run.

home/runs/<flow_run_id>/flow.json and <stage>.json, each replaced atomically. It is for people and the command line;
the records are the truth. A process that was killed cannot write its end, so each file names the process, and a
reader reports "failed" where it says "running" but that process is gone.
"""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tasks.lineage.errors import StoreFull, is_full
from tasks.lineage.files import write_atomically
from tasks.lineage.home import home

INTERRUPTED = "interrupted: the process ended without saying so; run again, and the work goes on from where it was"


def now() -> str:
    """The present moment, ISO 8601 in UTC; to the microsecond, since runs are put in order by when they started."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def begin_flow(
    flow: str,
    flow_run_id: str,
    preset: str | None = None,
    mlflow_run_id: str | None = None,
    prefect_url: str | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Say that a flow run has started. settings: everything it was told, so that it can be started again."""
    _write(
        flow_run_id,
        "flow",
        {
            "flow": flow,
            "preset": preset,
            "flow_run_id": flow_run_id,
            "started": now(),
            "ended": None,
            "state": "running",
            "mlflow_run_id": mlflow_run_id,
            "prefect_url": prefect_url,
            "settings": settings,
            "process": this_process(),
        },
    )


def end_flow(flow_run_id: str, state: str, error: str | None = None) -> None:
    """Say that a flow run has ended; `state` is "completed" or "failed"."""
    entry = _read(_folder(flow_run_id) / "flow.json") or {"flow_run_id": flow_run_id}
    _write(flow_run_id, "flow", {**entry, "state": state, "ended": now(), "error": error})


def write_stage(flow_run_id: str, stage: str, **fields: Any) -> None:
    """Merge `fields` (state, seconds, key, output, metrics, progress, error …) into the entry of a stage."""
    entry = _read(_folder(flow_run_id) / f"{stage}.json") or {"stage": stage, "started": now()}
    _write(flow_run_id, stage, {**entry, **fields, "process": this_process()})


def read_flow(flow_run_id: str) -> dict[str, Any] | None:
    """The entry of a flow run with its stages under "stages", in the order they started; None if there is none."""
    folder = _folder(flow_run_id)
    flow = _read(folder / "flow.json")
    if flow is None:
        return None
    entries = [_truthful(_read(path)) for path in folder.glob("*.json") if path.name != "flow.json"]
    stages = sorted(
        (entry for entry in entries if entry), key=lambda entry: (entry.get("started") or "", entry["stage"])
    )
    return {**(_truthful(flow) or flow), "stages": {entry["stage"]: entry for entry in stages}}


def flows() -> dict[str, dict[str, Any]]:
    """Flow run id → the entry of every flow run, as `read_flow` gives it, the latest first."""
    entries = [entry for path in (home() / "runs").glob("*/flow.json") if (entry := read_flow(path.parent.name))]
    newest = sorted(entries, key=lambda entry: entry.get("started") or "", reverse=True)
    return {entry["flow_run_id"]: entry for entry in newest}


def latest_flows() -> dict[str, dict[str, Any]]:
    """Flow name → its latest run, as `read_flow` gives it."""
    latest: dict[str, tuple[str, str]] = {}
    for path in (home() / "runs").glob("*/flow.json"):
        flow = _read(path)
        if flow and "flow" in flow:
            candidate = (flow["started"], path.parent.name)
            latest[flow["flow"]] = max(latest.get(flow["flow"], candidate), candidate)
    return {name: entry for name, (_, run) in sorted(latest.items()) if (entry := read_flow(run)) is not None}


def _folder(flow_run_id: str) -> Path:
    return home() / "runs" / flow_run_id


def _write(flow_run_id: str, name: str, entry: dict[str, Any]) -> None:
    """Replace an entry. Raises StoreFull where there is no room for it."""
    try:
        path = _folder(flow_run_id) / f"{name}.json"
        write_atomically(path, json.dumps(entry, indent=1).encode(), durable=False)  # training must not wait for it
    except OSError as error:
        if not is_full(error):
            raise
        raise StoreFull(
            f"no space left under {home()}: free some or set PEDIGREE_HOME to a larger disk, then run again"
        ) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return entry


def this_process() -> dict[str, Any]:
    """What tells this process from every other, later ones with its number included."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "created": psutil.Process().create_time()}


def _truthful(entry: dict[str, Any] | None) -> dict[str, Any] | None:
    """The entry, with "running" turned to "failed" if its process is gone. Another host's processes cannot be seen."""
    if entry is None or entry.get("state") != "running" or alive(entry.get("process") or {}):
        return entry
    return {**entry, "state": "failed", "error": INTERRUPTED}


def alive(process: dict[str, Any]) -> bool:
    """Whether the process that `this_process` named is still there; another host's is taken to be."""
    if process.get("host") != socket.gethostname():
        return True
    try:
        known = psutil.Process(process["pid"])
        same = abs(known.create_time() - process["created"]) < 1.0
        return same and known.status() != psutil.STATUS_ZOMBIE  # killed, and its parent has not asked after it
    except psutil.NoSuchProcess:
        return False
