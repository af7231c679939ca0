"""Draws the pages about a finished stage from the records: the lineage page, plots, and the report of an evaluation."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.lineage.ancestry import ancestors
from tasks.lineage.files import write_atomically
from tasks.lineage.record import Record
from tasks.lineage.stage_run import read_metrics
from tasks.lineage.store import Store
from tasks.report import cleaning_page, evaluation_files, measures_plots, plots
from tasks.report.lineage_graph import page_before, prefect_pages
from tasks.report.note import CLEANING_PAGE
from tasks.report.plots import Funnel
from tasks.report.report_page import Picture

MOST_BARS = 24  # in a panel
RunUrl = Callable[[str | None], str]


def write(record: Mapping[str, Any], folder: Path, run_url: RunUrl, flow_run_url: str = "") -> None:
    """Writes `lineage.html` into `folder`, and where there is something to draw plots/curves, plots/documents and a
    report with the whole course in it. flow_run_url: a page of this flow run in Prefect, to find the others by."""
    subject = Record.model_validate(record)
    drawn = page_before(subject, run_url, prefect_pages(subject.flow_run_id, flow_run_url))
    (folder / "lineage.html").write_text(drawn, encoding="utf-8")
    evaluation = Store().object_path(subject.output.digest)
    if subject.output.kind == "evaluation" and (evaluation / "metrics.json").is_file():
        (folder / "report.html").write_bytes(_report(subject, evaluation, ancestors(Store(), subject)["nodes"]))


def _report(subject: Record, evaluation: Path, records: Mapping[str, Record]) -> bytes:
    """The report with the whole course in it, drawn once: a run that finds the evaluation in the store shows it again.

    The pictures take seconds to draw, and their curves are those of the records that the key stands for."""
    drawn = Store().root / "cache" / "reports" / f"{subject.key}.{subject.output.digest[:12]}.html"
    if not drawn.is_file():
        page = evaluation_files.page(evaluation, funnel_of(records), _course_pictures(records))
        write_atomically(drawn, page.encode(), durable=False)
    return drawn.read_bytes()


def write_plots(record: Mapping[str, Any], folder: Path) -> None:
    """plots/curves for a stage that logged over steps, plots/documents for one that dropped documents, plots/clusters
    for one that found copies, cleaning.html for one that measured them, plots/classifier for a classifier,
    plots/mixture for one that mixed sources, plots/fertility for one that tokenised."""
    subject = Record.model_validate(record)
    rows = _rows(subject)
    if plots.has_curves(subject.stage, rows):
        plots.write(plots.curves(subject.stage, rows), folder / "plots" / "curves")
    kept = funnel_of({subject.key: subject})
    if kept and kept[0].dropped:
        plots.write(plots.funnel(kept), folder / "plots" / "documents")
    output = Store().object_path(subject.output.digest)
    if (output / "measures.json").is_file():
        (folder / CLEANING_PAGE).write_text(_cleaning(subject, output, folder), encoding="utf-8")
    if (output / "classifier.json").is_file():
        plots.write(measures_plots.classifier(_json(output / "classifier.json")), folder / "plots" / "classifier")
    shares = mixture_of(subject.metrics)
    if shares:
        plots.write(plots.bar_groups({"Share of the tokens": shares}), folder / "plots" / "mixture")
    panels = fertility_of(subject.metrics)
    if panels:
        plots.write(plots.bar_groups(panels), folder / "plots" / "fertility")
    if sizes := cluster_sizes(subject):
        plots.write(plots.cluster_sizes(sizes), folder / "plots" / "clusters")


def _cleaning(subject: Record, output: Path, folder: Path) -> str:
    """The page about what `clean` dropped; its histograms are also written as plots/measures-KIND."""
    measures = _json(output / "measures.json")
    pictures = []
    for kind, by_rule in measures["histograms"].items():
        drawn = measures_plots.histograms(kind, by_rule, measures["documents"][kind])
        picture = Picture(f"What was measured in texts of the kind {kind}, and the limits.", plots.svg(drawn))
        (folder / "plots").mkdir(exist_ok=True)
        name = "measures-" + re.sub(r"\W", "_", kind) + ".svg"
        (folder / "plots" / name).write_text(picture.svg, encoding="utf-8")
        pictures.append(picture)
    lines = (output / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return cleaning_page.render(measures, [json.loads(line) for line in lines], subject.metrics, pictures)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def fertility_of(metrics: Mapping[str, float]) -> dict[str, dict[str, dict[str, float]]]:
    """Title → group of documents or script → how well the tokenizer suits it."""
    titles = {
        "tokens_per_word": "Tokens a word",
        "bytes_per_token": "Bytes a token",
        "whole_share": "Characters known whole (share)",
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in metrics.items():
        group, _, figure = name.rpartition("/")
        if group.startswith("fertility/") and figure in titles:
            shown = found.setdefault(titles[figure], {})
            if len(shown) < MOST_BARS:
                shown[group.partition("/")[2].replace("/", ": ")] = {figure: value}
    return found


def mixture_of(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Source of a mixture → its share of the tokens, wanted and realised."""
    found: dict[str, dict[str, float]] = {}
    for series, figure in (("wanted", "wanted_share"), ("realised", "share")):
        for name, value in metrics.items():
            group, _, last = name.rpartition("/")
            if group.startswith("mix/") and last == figure:
                found.setdefault(group.removeprefix("mix/"), {})[series] = value
    return found


def cluster_sizes(record: Record) -> list[int]:
    """The sizes of the clusters of copies that a stage found, if it tells and its output is there."""
    path = Store().object_path(record.output.digest) / "clusters.parquet"
    if not path.is_file():
        return []
    sizes: list[int] = pq.read_table(path, columns=["documents"])["documents"].to_pylist()
    return sizes


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
    for record in records.values():
        if sizes := cluster_sizes(record):
            drawn = plots.svg(plots.cluster_sizes(sizes))
            pictures.append(Picture("Clusters of copies: of each, one document was kept.", drawn))
    for record in sorted(records.values(), key=lambda record: record.created):
        rows = _rows(record) if record.stage in plots.PANELS else []
        if plots.has_curves(record.stage, rows):
            pictures.append(Picture(f"The course of {record.stage}.", plots.svg(plots.curves(record.stage, rows))))
    return pictures


def _rows(record: Record) -> list[dict[str, Any]]:
    return read_metrics(Store().metrics_path(record.key))
