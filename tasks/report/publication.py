"""Draws the pages about a finished stage from the records: the lineage page, plots, and the report of an evaluation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.lineage.ancestry import Ancestry, ancestors
from tasks.lineage.files import write_atomically
from tasks.lineage.record import Record
from tasks.lineage.stage_run import read_metrics
from tasks.lineage.store import Store
from tasks.report import evaluation_files, lineage_page, plots
from tasks.report.plots import Funnel
from tasks.report.report_page import Picture

RunUrl = Callable[[str | None], str]


def write(record: Mapping[str, Any], folder: Path, run_url: RunUrl, flow_run_url: str = "") -> None:
    """Writes `lineage.html` into `folder`, and where there is something to draw plots/curves, plots/documents and a
    report with the whole course in it. flow_run_url: a page of this flow run in Prefect, to find the others by."""
    subject = Record.model_validate(record)
    ancestry = ancestors(Store(), subject)
    records = ancestry["nodes"]
    graph = lineage_graph(ancestry, run_url, _prefect_pages(subject, flow_run_url))
    title = f"Lineage of {subject.output.kind} {subject.output.digest[:12]}"
    (folder / "lineage.html").write_text(lineage_page.render(graph, subject.key, title), encoding="utf-8")
    evaluation = Store().object_path(subject.output.digest)
    if subject.output.kind == "evaluation" and (evaluation / "metrics.json").is_file():
        (folder / "report.html").write_bytes(_report(subject, evaluation, records))


def _report(subject: Record, evaluation: Path, records: Mapping[str, Record]) -> bytes:
    """The report with the whole course in it, drawn once: a run that finds the evaluation in the store shows it again.

    The pictures take seconds to draw, and their curves are those of the records that the key stands for."""
    drawn = Store().root / "cache" / "reports" / f"{subject.key}.{subject.output.digest[:12]}.html"
    if not drawn.is_file():
        page = evaluation_files.page(evaluation, funnel_of(records), _course_pictures(records))
        write_atomically(drawn, page.encode(), durable=False)
    return drawn.read_bytes()


def write_plots(record: Mapping[str, Any], folder: Path) -> None:
    """plots/curves for a stage that logged over steps, plots/documents for one that dropped documents."""
    subject = Record.model_validate(record)
    rows = _rows(subject)
    if plots.has_curves(subject.stage, rows):
        plots.write(plots.curves(subject.stage, rows), folder / "plots" / "curves")
    kept = funnel_of({subject.key: subject})
    if kept and kept[0].dropped:
        plots.write(plots.funnel(kept), folder / "plots" / "documents")


def funnel_of(records: Mapping[str, Record]) -> list[Funnel]:
    """What each data stage kept and dropped, in the order of the work."""
    found = []
    for record in sorted(records.values(), key=lambda record: record.created):
        if "documents_kept" in record.metrics:
            dropped = {
                name.removeprefix("dropped/"): int(count)
                for name, count in record.metrics.items()
                if name.startswith("dropped/") and count
            }
            found.append(Funnel(record.stage, int(record.metrics["documents_kept"]), dropped))
    return found


def _course_pictures(records: Mapping[str, Record]) -> list[Picture]:
    """The funnel of all data stages and the training curves of every model in the course."""
    pictures = []
    kept = funnel_of(records)
    if kept:
        pictures.append(Picture("Documents that each data stage kept and dropped.", plots.svg(plots.funnel(kept))))
    for record in sorted(records.values(), key=lambda record: record.created):
        rows = _rows(record) if record.stage in plots.PANELS else []
        if plots.has_curves(record.stage, rows):
            pictures.append(Picture(f"The course of {record.stage}.", plots.svg(plots.curves(record.stage, rows))))
    return pictures


def _rows(record: Record) -> list[dict[str, Any]]:
    return read_metrics(Store().metrics_path(record.key))


def lineage_graph(ancestry: Ancestry, run_url: RunUrl, flow_run_page: Callable[[str | None], str]) -> dict[str, Any]:
    """The records as {"nodes", "edges"} with what the lineage page shows. A record that is gone is left out."""
    records = ancestry["nodes"]
    nodes = [
        {
            "id": record.key,
            "stage": record.stage,
            "kind": record.output.kind,
            "digest": record.output.digest,
            "key": record.key,
            "config": record.config,
            "metrics": record.metrics,
            "made": f"{record.created[:19].replace('T', ' ')} UTC",
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
    return {"nodes": nodes, "edges": [list(edge) for edge in ancestry["edges"] if edge[0] in records]}


def _prefect_pages(subject: Record, flow_run_url: str) -> Callable[[str | None], str]:
    """Address of any flow run's page, made from the one that is known."""
    before, found, after = flow_run_url.partition(subject.flow_run_id or "\0")
    return lambda flow_run_id: f"{before}{flow_run_id}{after}" if found and flow_run_id else ""
