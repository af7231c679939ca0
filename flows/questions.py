"""`pedigree lineage`: what the records tell by themselves, no server needed."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from flows.targets import record_of, resolve, resolve_among
from tasks.impact.learned import LEARNED_FROM
from tasks.lineage.acceptance import accepted_behind
from tasks.lineage.ancestry import ancestors, declared_behind, descendants, made_from
from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.tracking.model_names import MODEL_KINDS


def lineage(target: str, up: bool = True, down: bool = False, brief: bool = False) -> dict[str, Any]:
    """Every ancestor of `target` (up), every descendant (down), and itself.

    brief: descendants, of which there may be thousands, read their records only when asked for more than headers say.

    {"nodes": [{id, relation, stage, kind, digest, key, inputs, config, code, code_digest, versions, documents, metrics,
    bytes, seconds, created, git_commit, flow_run_id, mlflow_run_id, accepted, declared}], "edges": [[from, to], …],
    "accepted": [{stage, key, by, at, because, stands_on, changed}], "declared": [{stage, kind, digest, key, origin,
    license, made_from, because, by, at, given, corrects}]}; relation: "target", "ancestor" or "descendant"; an id is
    the key of the record, and for one whose key has a newer output the beginning of its digest behind it; accepted:
    what people accepted in place of work, declared: what was made elsewhere, in `target` or behind it.
    docs/schemas/lineage.json has it all.
    """
    store = Store()
    known = headers(store)
    targets = resolve_among(store, known, target)
    graph = Graph(known) if down else None
    nodes: dict[str, dict[str, Any]] = {}
    edges: set[tuple[str, str]] = set()
    for record in targets:
        sides = [_ancestors(store, record)] if up else []
        sides += [_descendants(store, graph, record, brief)] if graph else []
        for found, between in sides:
            subject = next(iter(found))
            nodes[subject] = _node(subject, "target", record)
            nodes = {**found, **nodes}
            edges.update(between)
    return {
        "nodes": list(nodes.values()),
        "edges": [list(edge) for edge in sorted(edges)],
        "accepted": list(_accepted(store, targets)),
        "declared": list(_declared(store, targets)),
    }


def _ancestors(store: Store, record: Record) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """Nodes by id, that of `record` first, and edges."""
    found = ancestors(store, record)
    return {name: _node(name, "ancestor", other) for name, other in found["nodes"].items()}, found["edges"]


def _descendants(
    store: Store, graph: Graph, record: Record, brief: bool
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """As `_ancestors`. brief: see `lineage`."""
    if not brief:
        found = descendants(store, record, graph=graph)
        return {name: _node(name, "descendant", other) for name, other in found["nodes"].items()}, found["edges"]
    known, edges = made_from(graph, record)
    return {name: _Unread(store, name, header) if header else {} for name, header in known.items()}, edges


class _Unread(dict[str, Any]):
    """A descendant's node with what the header says; the rest is read from its record when somebody asks for it."""

    def __init__(self, store: Store, name: str, header: Header) -> None:
        super().__init__(
            id=name, relation="descendant", stage=header.stage, kind=header.kind, digest=header.digest, key=header.key,
            created=header.created, flow_run_id=header.flow_run_id, mlflow_run_id=header.mlflow_run_id,
        )  # fmt: skip
        self._read = partial(record_of, store, header)

    def __missing__(self, name: str) -> Any:
        self.update(_node(self["id"], self["relation"], self._read()))
        return dict(self)[name]


def _accepted(store: Store, targets: list[Record]) -> Iterator[dict[str, Any]]:
    """What people accepted in place of work, in the targets and all that they were made from; each once."""
    seen: set[str] = set()
    for target in targets:
        for record, acceptance in accepted_behind(store, target):
            if record.key not in seen:
                seen.add(record.key)
                yield {"stage": record.stage, "key": record.key, **acceptance.model_dump(mode="json")}


def _declared(store: Store, targets: list[Record]) -> Iterator[dict[str, Any]]:
    """What was made elsewhere, of the targets and all that they were made from; each once."""
    seen: set[str] = set()
    for target in targets:
        for record, declaration in declared_behind(store, target):
            if record.key not in seen:
                seen.add(record.key)
                yield {**record.named(), **declaration.model_dump(mode="json")}


def documents(target: str) -> dict[str, Any]:
    """The documents that `target` learned from or holds.

    {"target": {stage, kind, digest}, "documents": count, "origins": {origin: count}, "licenses": {licence or "unknown":
    count}, the most frequent first, "ids": [doc_id of a text or pair_id of a prompt with its answer, …], sorted,
    "unknown": [as "declared" of `lineage`, of what was made elsewhere from documents that nobody named]}
    """
    from tasks.lineage.documents import documents_of  # pyarrow takes longer to load than most commands to answer

    record = resolve(target)
    ids: list[str] = []
    origins: Counter[str] = Counter()
    licenses: Counter[str] = Counter()
    for document in documents_of(Store(), record, LEARNED_FROM):
        ids.append(document.doc_id)
        origins[document.origin] += 1
        licenses[document.license or "unknown"] += 1
    return {
        "target": {"stage": record.stage, "kind": record.output.kind, "digest": record.output.digest},
        "documents": len(ids),
        "origins": _by_count(origins),
        "licenses": _by_count(licenses),
        "ids": sorted(ids),
        "unknown": [made for made in _declared(Store(), [record]) if made["kind"] in MODEL_KINDS],
    }


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _node(name: str, relation: str, record: Record) -> dict[str, Any]:
    return {
        "id": name,
        "relation": relation,
        "stage": record.stage,
        "kind": record.output.kind,
        "digest": record.output.digest,
        "key": record.key,
        "inputs": {given: artifact.digest for given, artifact in record.inputs.items()},
        "config": record.config,
        "code": record.code,
        "code_digest": record.code_digest,
        "versions": record.versions,
        "documents": record.documents,
        "metrics": record.metrics,
        "bytes": record.output.size,
        "seconds": record.wall_seconds,
        "created": record.created,
        "git_commit": record.git_commit,
        "flow_run_id": record.flow_run_id,
        "mlflow_run_id": record.mlflow_run_id,
        "accepted": record.accepted.model_dump(mode="json") if record.accepted else None,
        "declared": record.declared.model_dump(mode="json") if record.declared else None,
    }
