"""`pedigree why`, `lineage`: questions that the records answer by themselves, no server needed."""

from collections import Counter
from typing import Any

from flows import latest
from flows.errors import NothingFound
from tasks.lineage.ancestry import ancestors
from tasks.lineage.record import Record
from tasks.lineage.store import Store

LEARNED_FROM = {
    "pretrain": frozenset({"train"}),
    "finetune": frozenset({"finetune"}),
    "rank": frozenset({"rank"}),
    "ppo": frozenset({"ppo"}),
}
"""Stage → the splits of its documents that shape what it makes; it only measures itself on the others."""


def lineage(target: str) -> dict[str, Any]:
    """Every ancestor of `target`, itself included.

    {"nodes": [{id, stage, kind, digest, key, config, code, versions, documents, created}], "edges": [[from, to], …]};
    an id is the key of the record.
    """
    graph = ancestors(Store(), latest.find(target))
    return {
        "nodes": [_node(record) for record in graph["nodes"].values()],
        "edges": [list(edge) for edge in graph["edges"]],
    }


def documents(target: str) -> dict[str, Any]:
    """The documents that `target` learned from or holds.

    {"target": {stage, kind, digest}, "documents": count, "origins": {origin: count}, "licenses": {licence or "unknown":
    count}, the most frequent first, "ids": [doc_id of a text or pair_id of a prompt with its answer, …], sorted}
    """
    from tasks.lineage.documents import documents_of  # pyarrow takes longer to load than most commands to answer

    record = latest.find(target)
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
    }


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


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
