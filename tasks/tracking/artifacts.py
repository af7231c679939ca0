"""The files of a stage that people look at in MLflow: record, samples, plots, report and lineage page."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import PedigreeError
from tasks.report import publication
from tasks.report.lineage_graph import page_unfinished, prefect_pages
from tasks.tracking import server
from tasks.tracking.pending import Entry

FILE_LIMIT_BYTES = 5_000_000  # what a person looks at is smaller
TABLES = ("samples.jsonl", "mixture.jsonl", "fertility.jsonl")  # files of an output that are shown as tables
TABLE_ROWS = 500

logger = logging.getLogger("pedigree.tracking")


def upload(client: MlflowClient, entry: Entry, model_id: str | None = None) -> None:
    """Everything worth seeing of a finished stage, onto its run; the report also onto the flow's run, the lineage page
    also onto the logged model."""
    assert entry.record is not None and entry.run_id is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "record.json").write_text(json.dumps(entry.record, indent=1, sort_keys=True) + "\n")
        _write_pages(entry, folder)
        output = Path(entry.output) if entry.output else None
        if output is not None:
            _copy_small(output, folder)
        client.log_artifacts(entry.run_id, str(folder))
        if output is not None:
            _log_tables(client, entry.run_id, [output / name for name in TABLES if (output / name).is_file()])
        if entry.parent_run_id and (folder / "report.html").is_file():
            client.log_artifact(entry.parent_run_id, str(folder / "report.html"))
        if model_id and entry.state == "ran" and (folder / "lineage.html").is_file():
            client.log_model_artifact(model_id, str(folder / "lineage.html"))


def upload_unfinished(client: MlflowClient, entry: Entry) -> None:
    """The lineage page of a stage that failed or was killed: what it had to work with."""
    subject = {
        "id": entry.key, "key": entry.key, "stage": entry.name, "kind": entry.state, "config": entry.parameters,
        "mlflow_url": server.run_url(entry.run_id), "prefect_url": entry.prefect.get("flow_run_url"),
        "error": entry.error,
    }  # fmt: skip
    inputs = [Artifact(**given.model_dump()) for given in entry.inputs.values()]
    flow_run_page = prefect_pages(entry.flow_run_id, entry.prefect.get("flow_run_url", ""))
    try:
        page = page_unfinished(subject, inputs, server.run_url, flow_run_page)
    except (PedigreeError, OSError, ValueError) as error:
        logger.warning("the lineage of %s could not be drawn: %s", entry.name, error)
        return
    client.log_text(entry.run_id, page, "lineage.html")


def _write_pages(entry: Entry, folder: Path) -> None:
    """Lineage page and plots. A page that cannot be drawn is said in the log and keeps nothing else back."""
    assert entry.record is not None
    try:
        publication.write(
            entry.record, folder, run_url=server.run_url, flow_run_url=entry.prefect.get("flow_run_url", "")
        )
        if entry.state == "ran":
            publication.write_plots(entry.record, folder)
    except (PedigreeError, OSError, ValueError) as error:
        logger.warning("the pages about %s could not be drawn: %s", entry.name, error)


def _copy_small(output: Path, folder: Path) -> None:
    """Top-level JSON and HTML files and the plots of an output, unless a fuller page of that name was drawn."""
    wanted = [*output.glob("*.json"), *output.glob("*.html"), *output.glob("plots/*.svg"), *output.glob("plots/*.png")]
    for path in sorted(wanted):
        target = folder / path.relative_to(output)
        if path.name != "tokenizer.json" and path.stat().st_size <= FILE_LIMIT_BYTES and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def _log_tables(client: MlflowClient, run_id: str, files: list[Path]) -> None:
    """JSONL files as tables that MLflow's pages show and its evaluation view compares between runs."""
    tables = []
    for path in files:
        rows: list[dict[str, Any]] = []
        with path.open(encoding="utf-8") as file:
            for line in file:
                if len(rows) == TABLE_ROWS:
                    break
                rows.append(json.loads(line))
        columns = list(dict.fromkeys(name for row in rows for name in row))
        data = [[row.get(name) for name in columns] for row in rows]
        client.log_text(run_id, json.dumps({"columns": columns, "data": data}), f"{path.stem}.json")
        tables.append({"path": f"{path.stem}.json", "type": "table"})
    if tables:
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(tables))
