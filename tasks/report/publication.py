"""Draws the pages about a finished stage from the records: the lineage page, plots, and the report of an evaluation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.report import lineage_page

RunUrl = Callable[[str | None], str]


def write(record: Mapping[str, Any], folder: Path, run_url: RunUrl, flow_run_url: str = "") -> None:
    """Writes `lineage.html` into `folder`. flow_run_url: a page of this flow run in Prefect, to find the others by."""
    subject = Record.model_validate(record)
    graph = lineage_graph(subject, run_url, _prefect_pages(subject, flow_run_url))
    title = f"Lineage of {subject.output.kind} {subject.output.digest[:12]}"
    (folder / "lineage.html").write_text(lineage_page.render(graph, subject.key, title), encoding="utf-8")


def ancestors(subject: Record) -> dict[str, Record]:
    """Every record that `subject` was made from, and itself, by key. A record that is gone is left out."""
    store = Store()
    found = {subject.key: subject}
    waiting = [subject]
    while waiting:
        for artifact in waiting.pop().inputs.values():
            if artifact.key not in found and (record := store.record(artifact.key)) is not None:
                found[artifact.key] = record
                waiting.append(record)
    return found


def lineage_graph(subject: Record, run_url: RunUrl, flow_run_page: Callable[[str | None], str]) -> dict[str, Any]:
    """The subject's ancestors as {"nodes", "edges"} with what the lineage page shows."""
    records = ancestors(subject)
    nodes = [
        {
            "id": record.key,
            "stage": record.stage,
            "kind": record.output.kind,
            "digest": record.output.digest,
            "key": record.key,
            "config": record.config,
            "metrics": record.metrics,
            "made": record.created,
            "seconds": record.wall_seconds,
            "bytes": record.output.size,
            "git_commit": record.git_commit,
            "libraries": record.versions,
            "machine": record.numerics,
            "mlflow_url": run_url(record.mlflow_run_id),
            "prefect_url": flow_run_page(record.flow_run_id),
        }
        for record in records.values()
    ]
    edges = sorted(
        {
            (artifact.key, record.key)
            for record in records.values()
            for artifact in record.inputs.values()
            if artifact.key in records
        }
    )
    return {"nodes": nodes, "edges": [list(edge) for edge in edges]}


def _prefect_pages(subject: Record, flow_run_url: str) -> Callable[[str | None], str]:
    """Address of any flow run's page, made from the one that is known."""
    before, found, after = flow_run_url.partition(subject.flow_run_id or "\0")
    return lambda flow_run_id: f"{before}{flow_run_id}{after}" if found and flow_run_id else ""
