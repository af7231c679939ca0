"""What the lineage page shows of records: the boxes around one piece of work, with figures, settings and links."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tasks.lineage.ancestry import Ancestry, ancestors, read
from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import accepted_sentence
from tasks.lineage.declaration import declared_sentence
from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.report import lineage_page

MOST_BEFORE = 250  # ancestors that are drawn, the nearest
MOST_AFTER = 200  # descendants that are drawn, the nearest

Url = Callable[[str | None], str]


def page_before(record: Record, run_url: Url, flow_run_page: Url) -> str:
    """The page of a record as its stage ends: all that it was made from, however much. Reads no other record."""
    found = ancestors(Store(), record)
    graph = described(found, run_url, flow_run_page)
    return lineage_page.render(graph, next(iter(found["nodes"])), title_of(record.artifact))


def page_unfinished(subject: Mapping[str, Any], inputs: Iterable[Artifact], run_url: Url, flow_run_page: Url) -> str:
    """The page of work that has no record, since it failed. subject: its node, with "id", "stage", "kind", …"""
    store = Store()
    nodes: dict[str, Record] = {}
    edges: set[tuple[str, str]] = set()
    for artifact in inputs:
        record = store.maker(artifact)
        if record is not None:
            found = ancestors(store, record)
            nodes |= found["nodes"]
            edges |= {*found["edges"], (next(iter(found["nodes"])), str(subject["id"]))}
    graph = described({"nodes": nodes, "edges": sorted(edges)}, run_url, flow_run_page)
    graph["nodes"].insert(0, {"digest": "", **subject})
    graph["edges"] = [list(edge) for edge in sorted(edges) if edge[0] in nodes]
    return lineage_page.render(graph, str(subject["id"]), f"Lineage of a {subject['stage']} that {subject['kind']}")


class Pages:
    """Draws the pages of many records of one store; each record is read once."""

    def __init__(self, store: Store, graph: Graph, run_url: Url, flow_run_page: Url) -> None:
        self._store, self._graph = store, graph
        self._run_url, self._flow_run_page = run_url, flow_run_page
        self._nodes: dict[str, dict[str, Any]] = {}

    def page(self, subjects: Sequence[Header], title: str = "") -> str:
        """The page about the first subject, with what all of them were made from and into."""
        before = _nearest(subjects, self._graph.ancestors, MOST_BEFORE)
        after = _nearest(subjects, self._graph.descendants, MOST_AFTER)
        shown = {header.id: header for header in (*subjects, *before[0], *after[0])}
        self._read([header for name, header in shown.items() if name not in self._nodes])
        edges = [
            [parent.id, name]
            for name, header in shown.items()
            for parent in self._graph.parents(header)
            if name in self._nodes and parent.id in shown and parent.id in self._nodes
        ]
        nodes = [self._nodes[name] for name in shown if name in self._nodes]
        more = " and ".join(
            f"the nearest {len(found)} of {total} {where} it"
            for (found, total), where in ((before, "before"), (after, "after"))
            if total > len(found)
        )
        return lineage_page.render(
            {"nodes": nodes, "edges": edges},
            subjects[0].id,
            title or title_of(subjects[0].artifact),
            f"shown are {more}" if more else "",
        )

    def _read(self, wanted: list[Header]) -> None:
        for name, record in read(self._store, wanted).items():
            self._nodes[name] = _node(name, record, self._run_url, self._flow_run_page)


def described(found: Ancestry, run_url: Url, flow_run_page: Url) -> dict[str, Any]:
    """Records as {"nodes", "edges"} for the page. A record that is gone is left out."""
    nodes = [_node(name, record, run_url, flow_run_page) for name, record in found["nodes"].items()]
    return {"nodes": nodes, "edges": [list(edge) for edge in found["edges"] if set(edge) <= found["nodes"].keys()]}


def prefect_pages(flow_run_id: str | None, flow_run_url: str) -> Url:
    """Address of any flow run's page in Prefect, made from one that is known."""
    before, found, after = flow_run_url.partition(flow_run_id or "\0")
    return lambda other: f"{before}{other}{after}" if found and other else ""


def title_of(artifact: Artifact) -> str:
    return f"Lineage of {artifact}"


def _nearest(subjects: Sequence[Header], walk: Callable[[Header], list[Header]], most: int) -> tuple[list[Header], int]:
    """So many of what the walks from all subjects reach, and how many there are."""
    found = {header.id: header for subject in subjects for header in walk(subject)}
    for subject in subjects:
        found.pop(subject.id, None)
    return list(found.values())[:most], len(found)


def _node(name: str, record: Record, run_url: Url, flow_run_page: Url) -> dict[str, Any]:
    return {
        "id": name,
        "stage": record.stage,
        "kind": record.output.kind,
        "digest": record.output.digest,
        "key": record.key,
        "declared": declared_sentence(record.declared) if record.declared else None,
        "accepted": accepted_sentence(record.accepted) if record.accepted else None,
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
