"""What falls with a document, a source, a licence, an annotator or a piece of code: the question `pedigree impact`.

from tasks.impact.impact import impact
impact(Store(), Selector(docs=("3f2a",)))   # → plain data, as docs/schemas/impact.json describes it
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tasks.impact.census import StoreView
from tasks.impact.learned import CLASSIFIER
from tasks.impact.made_by import Code, identity, made_by
from tasks.impact.selector import Found, FoundDocument, Near, Selector, find
from tasks.impact.similar import Report
from tasks.impact.taint import INHERITS, TAINTED, TRAINED, Node, Paths, Taint
from tasks.lineage.declaration import declared_sentence
from tasks.lineage.errors import ConfigError
from tasks.lineage.headers import Header
from tasks.lineage.sorted_ids import short_id
from tasks.lineage.store import Store
from tasks.tracking.model_names import MODEL_KINDS
from tasks.tracking.registry import versions_of

MADE = "made"
MOST_TRAININGS = 5  # each costs the orders of its epochs, at ten million documents some 30 ms

logger = logging.getLogger("pedigree.impact")

Step = dict[str, str | None]
"""One step of a path: {"stage", "kind", "digest"}."""


@dataclass(frozen=True)
class Reached:
    """An output that is concerned, and the shortest ways in which it came to be: one, and one for each input."""

    header: Header
    stored: bool
    relation: str
    documents: dict[str, int]
    code: dict[str, str]
    path: list[Step]
    paths: dict[str, list[str]]

    @property
    def tainted(self) -> bool:
        return self.relation in (*TAINTED, MADE)


def impact(
    store: Store,
    selector: Selector,
    modules: Sequence[str] = (),
    *,
    near: Near = "sorted",
    steps: int | None = MOST_TRAININGS,
    report: Report = logger.info,
) -> dict[str, Any]:
    """What the documents, or the code, reached; of both together, what both reached.

    near: as for `select`. steps: of how many trainings of each stage, the newest, the steps are computed; None for all.
    report: is told what takes long. Raises ConfigError where nothing is asked for, NotFound for a document or module
    that nothing names.
    """
    if selector.empty and not modules:
        raise ConfigError("say what falls: --doc, --text, --source, --license, --annotator or --module")
    view = StoreView(store)
    code = made_by(view, modules) if modules else None
    found = None if selector.empty else find(view, selector, near=near, report=report)
    if found is None:
        assert code is not None
        reached = _by_code(view, code, modules)
        nodes: list[Node] = []
    else:
        taint = Taint(view, found.said)
        nodes = [node for node in taint.nodes if code is None or identity(node.header) in code.before]
        reached = _by_documents(taint, nodes, found.selection.documents, code)
    models, asked = _models(reached)
    return {
        "documents": [_document(document) for document in found.selection.documents] if found else [],
        "artifacts": [_artifact(entry) for entry in reached],
        "models": models,
        "classifiers": list(_classifiers(view, reached)),
        "steps": _steps(view, nodes, found, steps) if found else {},
        "near_duplicates": [asdict(document) for document in found.selection.near_duplicates] if found else [],
        "registry": asked,
        "notes": [*found.selection.notes, *_unknown(view)] if found else [],
    }


def _unknown(view: StoreView) -> Iterator[str]:
    """What was made elsewhere and may have learnt from any document: nobody knows."""
    for header in view.graph.headers:
        if header.kind in MODEL_KINDS and not header.inputs and view.graph.maker(header.artifact) is header:
            record = view.store.maker(header.artifact)
            if record is not None and record.declared is not None:
                into = len(view.graph.descendants(header))
                yield (
                    f"what {header.artifact} learnt from is unknown ({declared_sentence(record.declared)}); whether "
                    f"it, and the {into} outputs made from it, are concerned cannot be told"
                )


def _by_documents(
    taint: Taint, nodes: Iterable[Node], documents: Sequence[FoundDocument], code: Code | None
) -> list[Reached]:
    ways: dict[int, Paths] = {}
    found = []
    for node in nodes:
        path: list[Step] = []
        paths: dict[str, list[str]] = {}
        if node.taint:
            number = (node.taint & -node.taint).bit_length() - 1  # the first of the documents that taint it
            if number not in ways:
                ways[number] = Paths(taint, number)
            way = ways[number]
            start = _start(documents[number].kind, documents[number].doc_id)
            path = [start, *(_step(passed.header) for passed in way.to(node))]
            if node.header.kind in MODEL_KINDS:
                paths = {
                    name: [documents[number].doc_id, *(passed.header.digest for passed in passing)]
                    for name, passing in way.by_input(node).items()
                }
        made = code.made.get(identity(node.header), {}) if code else {}
        found.append(Reached(node.header, not node.gone, node.relation, node.counts(), made, path, paths))
    return found


def _by_code(view: StoreView, code: Code, modules: Sequence[str]) -> list[Reached]:
    found = []
    start = _start("module", ", ".join(modules))
    for header in view.graph.headers:
        if identity(header) in code.before:
            made = code.made.get(identity(header), {})
            path = [start, *(_step(passed) for passed in code.path(header))]
            stored = header.digest in view.present
            found.append(Reached(header, stored, MADE if made else INHERITS, {}, made, path, {}))
    return found


def _start(kind: str, name: str) -> Step:
    return {"stage": None, "kind": kind, "digest": name}


def _step(header: Header) -> Step:
    return {"stage": header.stage, "kind": header.kind, "digest": header.digest}


def _document(document: FoundDocument) -> dict[str, Any]:
    return {name: value for name, value in asdict(document).items() if name != "replaces"}


def _artifact(reached: Reached) -> dict[str, Any]:
    header = reached.header
    return {
        "digest": header.digest,
        "kind": header.kind,
        "stage": header.stage,
        "key": header.key,
        "created": header.created,
        "stored": reached.stored,
        "relation": reached.relation,
        "documents": reached.documents,
        "code": reached.code,
        "path": [step["digest"] for step in reached.path],
    }


def _models(reached: Iterable[Reached]) -> tuple[list[dict[str, Any]], str]:
    """An entry for each registered version of each tainted model, one without a version where there is none; and
    whether the registry was asked."""
    tainted = [entry for entry in reached if entry.header.kind in MODEL_KINDS and entry.tainted]
    versions, asked = versions_of([entry.header for entry in tainted])
    found = []
    for entry, held in zip(tainted, versions, strict=True):
        header = entry.header
        for version in held:
            found.append(
                {
                    "name": version.name,
                    "version": version.version,
                    "aliases": version.aliases,
                    "digest": header.digest,
                    "stage": header.stage,
                    "key": header.key,
                    "relation": entry.relation,
                    "documents": entry.documents,
                    "path": entry.path,
                    "paths": entry.paths,
                    "mlflow_run_id": version.run_id,
                }
            )
    return found, asked


def _classifiers(view: StoreView, reached: Sequence[Reached]) -> Iterator[dict[str, Any]]:
    """Of each tainted classifier, how it came to be so, and the shortest way from it to every model that inherits."""
    for entry in reached:
        if entry.header.kind == CLASSIFIER and entry.tainted:
            ways = _ways(view, entry.header)
            models = {id(other.header): other.header for other in reached if other.header.kind in MODEL_KINDS}
            yield {
                "digest": entry.header.digest,
                "stage": entry.header.stage,
                "key": entry.header.key,
                "stored": entry.stored,
                "relation": entry.relation,
                "documents": entry.documents,
                "path": entry.path,
                "models": [
                    {"stage": header.stage, "digest": header.digest, "path": [_step(passed) for passed in way]}
                    for header, way in ways
                    if id(header) in models
                ],
            }


def _ways(view: StoreView, start: Header) -> list[tuple[Header, list[Header]]]:
    """Everything made from `start`, nearest first, with the shortest way to it, both ends included."""
    ways = {id(start): [start]}
    found = []
    waiting = deque([start])
    while waiting:
        header = waiting.popleft()
        for child in view.graph.children(header):
            if id(child) not in ways:
                ways[id(child)] = [*ways[id(header)], child]
                found.append((child, ways[id(child)]))
                waiting.append(child)
    return found


def _steps(view: StoreView, nodes: Iterable[Node], found: Found, most: int | None) -> dict[str, list[dict[str, Any]]]:
    """By stage, the steps of each training that read any of the documents itself, the newest trainings first."""
    ids = np.array([short_id(document.doc_id) for document in found.selection.documents], np.uint64)
    by_stage: dict[str, list[dict[str, Any]]] = {}
    trained = [node for node in nodes if TRAINED in node.bits] if most != 0 else []
    for node in sorted(trained, key=lambda node: node.header.created, reverse=True):
        from tasks.impact.steps import COUNTED, NOT_COMPUTED, steps_seeing  # brings what draws batches

        header = node.header
        if header.stage not in COUNTED:
            continue
        entries = by_stage.setdefault(header.stage, [])
        record = view.store.maker(header.artifact) if most is None or len(entries) < most else None
        seen = NOT_COMPUTED if record is None else steps_seeing(view, record, ids[node.trained_on(len(ids))])
        assert seen is not None
        entries.append({"artifact": header.digest, "key": header.key, **seen.as_json()})
    return by_stage
