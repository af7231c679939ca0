"""Draws lineage pages again once there is more to show: a run's page is first drawn as its stage ends, when nothing
has been made from it yet. After a flow the pages of its own runs, and of what they were made from, get the new work.
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient, MlflowException

from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header, headers
from tasks.lineage.store import Store
from tasks.report.lineage_graph import Pages, prefect_pages
from tasks.tracking import models, server
from tasks.tracking.model_names import MODEL_KINDS
from tasks.tracking.runs import refused

MOST_RUNS = 200  # earlier runs whose pages follow a new one: the nearest in the graph
PAGE = "lineage.html"

logger = logging.getLogger("pedigree.tracking")


class _Place(NamedTuple):
    """Where a page belongs: a run or a logged model, and what it is about."""

    kind: str
    id: str
    subjects: list[Header]


def refresh(client: MlflowClient, experiment: str, flow_run_id: str, finished: set[str], until: float) -> bool:
    """Draws what is not among `finished` yet and adds it there; False if it was not through at the moment `until`.

    until: of time.monotonic(). The nearest pages come first.
    """
    own = client.search_runs([experiment], f"tags.`pedigree.flow_run_id` = '{flow_run_id}'", max_results=1000)
    store = Store()
    graph = Graph(headers(store))
    url = next((run.data.tags.get("pedigree.prefect.flow_run_url", "") for run in own), "")
    pages = Pages(store, graph, server.run_url, prefect_pages(flow_run_id, url))
    drawn: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PAGE
        for place in _places(client, experiment, graph, own, flow_run_id):
            if f"{place.kind} {place.id}" in finished:
                continue
            if time.monotonic() > until:
                return False
            name = " ".join(header.id for header in place.subjects)
            if name not in drawn:
                drawn = {name: pages.page(place.subjects)}  # a run and its model follow each other
            path.write_text(drawn[name], encoding="utf-8")
            _upload(client, place, path)
            finished.add(f"{place.kind} {place.id}")
    return True


def _upload(client: MlflowClient, place: _Place, path: Path) -> None:
    try:
        if place.kind == "run":
            client.log_artifact(place.id, str(path))
        else:
            client.log_model_artifact(place.id, str(path))
    except MlflowException as error:
        if not refused(error):
            raise
        logger.info("%s %s takes no lineage page, it may have been deleted: %s", place.kind, place.id, error)


def _places(client: MlflowClient, experiment: str, graph: Graph, own: list[Any], flow_run_id: str) -> Iterator[_Place]:
    """The flow's run, its stages' runs and their models; then the runs that did the work they were made from."""
    known = {(header.key, header.digest): header for header in graph.headers}
    met: dict[str, Header] = {}
    places = []
    flow = None
    for run in own:
        tags = run.data.tags
        header = known.get((tags.get("pedigree.key", ""), tags.get("pedigree.digest", "")))
        if tags.get("pedigree.role") == "flow":
            flow = run.info.run_id
        elif header is not None:
            met[header.id] = header
            places.append(_Place("run", run.info.run_id, [header]))
            if tags.get("pedigree.model_id"):
                places.append(_Place("model", tags["pedigree.model_id"], [header]))
    if flow and met:
        yield _Place("run", flow, graph.ends(met.values()))
    yield from places
    new = [header for header in met.values() if header.flow_run_id == flow_run_id]
    told = {place.id for place in places}
    earlier: dict[str, Header] = {}
    for header in new:
        earlier |= {other.id: other for other in graph.ancestors(header) if other.flow_run_id != flow_run_id}
    for header in list(earlier.values())[:MOST_RUNS]:
        if header.mlflow_run_id and header.mlflow_run_id not in told:
            yield _Place("run", header.mlflow_run_id, [header])
        if header.kind in MODEL_KINDS and header.id not in met:
            model = models.find(client, experiment, header.digest)
            if model is not None:
                yield _Place("model", str(model.model_id), [header])
