"""`pedigree why`, `lineage`, `verify`: questions that the records answer by themselves, no server needed."""

from typing import Any

from flows import latest
from flows.errors import NothingFound
from tasks.lineage.record import Record
from tasks.lineage.store import Store


def verify() -> dict[str, Any]:
    """{"objects": n, "damaged": [{digest, stage, key, problems}], "missing": [the same]}: every stored byte hashed."""
    return Store().verify(deep=True)


def lineage(target: str) -> dict[str, Any]:
    """Every ancestor of `target`, itself included.

    {"nodes": [{id, stage, kind, digest, key, config, code, versions, documents, created}], "edges": [[from, to], …]};
    an id is the key of the record.
    """
    store = Store()
    nodes: dict[str, dict[str, Any]] = {}
    edges: list[list[str]] = []
    waiting = [latest.find(target)]
    while waiting:
        record = waiting.pop()
        if record.key in nodes:
            continue
        nodes[record.key] = _node(record)
        for artifact in record.inputs.values():
            edges.append([artifact.key, record.key])
            ancestor = store.record(artifact.key)
            if ancestor is not None:
                waiting.append(ancestor)
    return {"nodes": list(nodes.values()), "edges": sorted(edges)}


def why(stage: str) -> dict[str, Any]:
    """What differs between the two newest pieces of work of a stage, and so why the later one ran.

    {"stage", "key", "created", "changed": [{"what", "before", "after"}], "first": whether there is nothing before it}
    """
    records = sorted((r for r in Store().records() if r.stage == stage), key=lambda record: record.created)
    if not records:
        known = ", ".join(sorted({record.stage for record in Store().records()})) or "none yet"
        raise NothingFound(f"No stage {stage!r} has run. Stages that have: {known}.")
    now = records[-1]
    before = records[-2] if len(records) > 1 else None
    return {
        "stage": stage,
        "key": now.key,
        "created": now.created,
        "first": before is None,
        "changed": differences(before, now) if before else [],
    }


def differences(before: Record, after: Record) -> list[dict[str, Any]]:
    """By field: inputs by digest, settings, code by definition, library versions."""
    sides = [
        {
            **{f"input {name}": artifact.digest for name, artifact in record.inputs.items()},
            **{f"config {name}": value for name, value in record.config.items()},
            **{f"code {name}": digest for name, digest in record.code.items()},
            **{f"version {name}": version for name, version in record.versions.items()},
        }
        for record in (before, after)
    ]
    names = sorted(sides[0].keys() | sides[1].keys())
    return [
        {"what": name, "before": sides[0].get(name), "after": sides[1].get(name)}
        for name in names
        if sides[0].get(name) != sides[1].get(name)
    ]


def _node(record: Record) -> dict[str, Any]:
    return {
        "id": record.key,
        "stage": record.stage,
        "kind": record.output.kind,
        "digest": record.output.digest,
        "config": record.config,
        "code": record.code,
        "versions": record.versions,
        "documents": record.documents,
        "metrics": record.metrics,
        "created": record.created,
        "git_commit": record.git_commit,
        "mlflow_run_id": record.mlflow_run_id,
    }
