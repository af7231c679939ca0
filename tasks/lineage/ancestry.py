"""What a piece of work was made from: the graph of records behind it."""

from typing import TypedDict

from tasks.lineage.record import Record
from tasks.lineage.store import Store


class Ancestry(TypedDict):
    """A record with everything behind it.

    nodes: by key, the subject first. edges: (key of what was consumed, key of what consumed it), sorted, each once.
    An edge may begin at a key that is no node: its record is gone.
    """

    nodes: dict[str, Record]
    edges: list[tuple[str, str]]


def ancestors(store: Store, record: Record) -> Ancestry:
    """Every record that `record` was made from, however far back, and itself."""
    nodes: dict[str, Record] = {}
    edges: set[tuple[str, str]] = set()
    waiting = [record]
    while waiting:
        current = waiting.pop()
        if current.key in nodes:
            continue
        nodes[current.key] = current
        for artifact in current.inputs.values():
            edges.add((artifact.key, current.key))
            ancestor = store.maker(artifact) or store.record(artifact.key)
            if ancestor is not None:
                waiting.append(ancestor)
    return {"nodes": nodes, "edges": sorted(edges)}
