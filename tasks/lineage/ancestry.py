"""What a piece of work was made from and what was made from it: the graph of records around it."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypedDict

from tasks.lineage.artifact import Artifact
from tasks.lineage.declaration import Declaration
from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.store import Store


class Ancestry(TypedDict):
    """A record with everything on one side of it.

    nodes: by id (see `Header.id`: the key, but for superseded records), the subject first. edges: (id of what was
    consumed, id of what consumed it), sorted, each once. Of ancestors an edge may begin at a key that is no node: its
    record is gone.
    """

    nodes: dict[str, Record]
    edges: list[tuple[str, str]]


def ancestors(store: Store, record: Record) -> Ancestry:
    """Every record that `record` was made from, however far back, and itself. Reads no other record."""
    subject = (_maker(store, record.artifact) or (record.key, record))[0]
    nodes: dict[str, Record] = {subject: record}
    edges: set[tuple[str, str]] = set()
    waiting = [(subject, record)]
    while waiting:
        name, current = waiting.pop()
        for artifact in current.inputs.values():
            found = _maker(store, artifact)
            edges.add((found[0] if found else artifact.key, name))
            if found and found[0] not in nodes:
                nodes[found[0]] = found[1]
                waiting.append(found)
    return {"nodes": nodes, "edges": sorted(edges)}


def ancestors_of_all(store: Store, records: Iterable[Record]) -> Ancestry:
    """As `ancestors`, of several records together."""
    nodes: dict[str, Record] = {}
    edges: set[tuple[str, str]] = set()
    for record in records:
        found = ancestors(store, record)
        nodes = {**found["nodes"], **nodes}
        edges.update(found["edges"])
    return {"nodes": nodes, "edges": sorted(edges)}


def in_order(found: Ancestry) -> list[str]:
    """The ids of the nodes, each after what it was made from, the oldest first where that leaves a choice."""
    nodes = found["nodes"]
    children: dict[str, list[str]] = defaultdict(list)
    waiting = dict.fromkeys(nodes, 0)
    for parent, child in found["edges"]:
        if parent in nodes and child in nodes:
            children[parent].append(child)
            waiting[child] += 1
    ready = [(nodes[name].created, nodes[name].stage, name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        name = heapq.heappop(ready)[-1]
        ordered.append(name)
        for child in children[name]:
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, (nodes[child].created, nodes[child].stage, child))
    return ordered


def id_in(found: Ancestry, artifact: Artifact) -> str | None:
    """The id of the node that made an artifact; None where it is no node."""
    for name in (artifact.key, f"{artifact.key}.{artifact.digest[:12]}"):
        record = found["nodes"].get(name)
        if record is not None and record.output.digest == artifact.digest:
            return name
    return None


def declared_behind(store: Store, record: Record) -> Iterator[tuple[Record, Declaration]]:
    """What was made elsewhere among `record` and all that it was made from, itself first."""
    for current in ancestors(store, record)["nodes"].values():
        if current.declared is not None:
            yield current, current.declared


def descendants(store: Store, record: Record, limit: int | None = None, graph: Graph | None = None) -> Ancestry:
    """Every record made from `record`, however far on, and itself; with `limit`, so many of the nearest beside it.

    graph: of the store's headers, where the caller has it already.
    """
    others, edges = made_from(graph or Graph(headers(store)), record, limit)
    subject = next(iter(others))
    nodes = {subject: record, **read(store, [header for header in others.values() if header is not None])}
    return {"nodes": nodes, "edges": [edge for edge in edges if nodes.keys() >= set(edge)]}


def made_from(
    graph: Graph, record: Record, limit: int | None = None
) -> tuple[dict[str, Header | None], list[tuple[str, str]]]:
    """As `descendants`, by headers alone: id → header, None for `record` itself, which comes first; and the edges."""
    subject = graph.maker(record.artifact)
    if subject is None:  # a record that is not in the store has no descendants there
        return {record.key: None}, []
    chosen = [subject, *graph.descendants(subject)[:limit]]
    names = {header.id for header in chosen}
    edges = {(parent.id, header.id) for header in chosen for parent in graph.parents(header) if parent.id in names}
    return {header.id: None if header is subject else header for header in chosen}, sorted(edges)


def read(store: Store, wanted: list[Header]) -> dict[str, Record]:
    """The records of these headers by id; one that is gone by now is left out."""
    found = {}
    for header in wanted:
        record = store.maker(header.artifact)
        if record is not None:
            found[header.id] = record
    return found


def _maker(store: Store, artifact: Artifact) -> tuple[str, Record] | None:
    """Id and record of who made this very artifact."""
    record = store.record(artifact.key)
    if record is not None and record.output.digest == artifact.digest:
        return artifact.key, record
    record = store.maker(artifact)
    return None if record is None else (f"{artifact.key}.{artifact.digest[:12]}", record)
