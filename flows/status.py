"""`pedigree status`: the latest run of each flow, and the servers that answer."""

from datetime import datetime
from typing import Any

from rich.console import Console

from flows import servers
from flows.summary import stage_table
from tasks.lineage import journal

STAGE_FIELDS = ("state", "seconds", "output", "mlflow_run_id", "metrics")


def status() -> dict[str, Any]:
    """The object that `--json` prints.

    {"flows": {flow: {state, seconds, prefect_flow_run_id, mlflow_run_id, stages: {stage: {state, seconds, output,
    mlflow_run_id, metrics}}}}, "servers": {"prefect": address or null, "mlflow": address or null}}
    """
    flows = {name: _flow(entry) for name, entry in journal.latest_flows().items()}
    return {"flows": flows, "servers": servers.addresses()}


def print_status(console: Console) -> None:
    servers.name_mlflow()  # for the links
    for flow in journal.latest_flows().values():
        console.print(stage_table(flow))
        if flow.get("error"):
            console.print(f"{flow['flow']}: {flow['error']}", style="red", markup=False, highlight=False)
    for name, address in servers.addresses().items():
        console.print(f"{name + ':':<9}{address or 'not running (`pedigree up` starts it)'}", highlight=False)


def _flow(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": entry["state"],
        "preset": entry.get("preset"),
        "started": entry["started"],
        "seconds": seconds(entry),
        "prefect_flow_run_id": entry["flow_run_id"],
        "mlflow_run_id": entry.get("mlflow_run_id"),
        "stages": {
            name: {field: stage.get(field, {} if field == "metrics" else None) for field in STAGE_FIELDS}
            for name, stage in entry["stages"].items()
        },
    }


def seconds(entry: dict[str, Any]) -> float | None:
    """How long a flow run took; None while it runs."""
    if not entry.get("ended"):
        return None
    ended, started = (datetime.fromisoformat(entry[end]) for end in ("ended", "started"))
    return round((ended - started).total_seconds(), 3)
