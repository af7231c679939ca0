"""Two things compared, stage by stage: their data, settings, code, libraries and figures, and what differs first."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.diff.addresses import Files
from tasks.diff.adoptions import by_declaration
from tasks.diff.documents import Difference
from tasks.diff.matching import Match, matched
from tasks.diff.metrics import figures
from tasks.impact.census import TRAINED_FROM
from tasks.lineage import sources
from tasks.lineage.cause import OUTSIDE_WORLD, Cause
from tasks.lineage.graph import Graph
from tasks.lineage.headers import headers
from tasks.lineage.record import Record
from tasks.lineage.sides import Sides, differences
from tasks.lineage.store import Store
from tasks.reproduce import outside
from tasks.reproduce.verdict import numerics

CORPUS, EVALUATION = "corpus", "evaluation"  # kinds of artifacts
MODELS = ("model", "reward_model")
OWN = ("config", "code", "dependency")  # kinds of causes that a stage has by itself
Answer = dict[str, Any]
Report = Callable[[str], None]


class Diff(NamedTuple):
    """The answer, and every document that is not the same on both sides: read while they are taken."""

    answer: Answer
    documents: Iterator[Answer]


def diff(store: Store, a: list[Record], b: list[Record], report: Report) -> Diff:
    """Compare what `a` and `b` are and were made from. report: told what takes long.

    The answer: {"a", "b", "identical", "first_cause", "stages", "data": {"sources", "collections"}, "config", "code",
    "dependencies", "numerics", "metrics", "notes"}; docs/schemas/diff.json has it all.
    """
    matches = matched(store, a, b)
    causes = [_causes(match) for match in matches]
    by_stage = [_own(match, found) for match, found in zip(matches, causes, strict=True)]
    own = [cause for found in by_stage for cause in found]
    collections = list(_collections(store, a, b, matches, causes, report))
    answer: Answer = {
        "a": [record.named() for record in a],
        "b": [record.named() for record in b],
        "identical": [record.output.digest for record in a] == [record.output.digest for record in b],
        "first_cause": _first_cause(matches, by_stage),
        "stages": [_stage(store, match, found) for match, found in zip(matches, causes, strict=True)],
        "data": {"sources": _sources(store, matches), "collections": [found.answer() for found in collections]},
        "config": [_plain(cause) for cause in own if cause.kind == "config"],
        "code": [_plain(_with_diff(store, cause)) for cause in own if cause.kind == "code"],
        "dependencies": [_plain(cause) for cause in own if cause.kind == "dependency"],
        "numerics": [
            {"stage": match.stage, **entry}
            for match in matches
            if match.a is not None and match.b is not None and not match.same
            for entry in numerics(match.a, match.b)
        ],
        "metrics": list(_metrics(store, a, b, matches)),
    }
    return Diff(answer, (entry for found in collections for entry in found.entries()))


# -- stages ------------------------------------------------------------------------------------------------------------


def _causes(match: Match) -> list[Cause]:
    if match.a is None or match.b is None or match.same:
        return []
    found = differences(Sides.of_record(match.a), Sides.of_record(match.b))
    if match.a.declared is not None and match.b.declared is not None:
        found = by_declaration(found)
    if not found and match.a.output.digest != match.b.output.digest:
        digests = match.a.output.digest, match.b.output.digest
        return [Cause(kind="input", name=OUTSIDE_WORLD, old=digests[0], new=digests[1])]
    return found


def _own(match: Match, causes: list[Cause]) -> list[Cause]:
    """Those that do not come with its inputs, each saying its stage."""
    return [
        cause.model_copy(update={"stage": match.stage})
        for cause in causes
        if cause.kind in OWN or cause.name == OUTSIDE_WORLD
    ]


def _stage(store: Store, match: Match, causes: list[Cause]) -> Answer:
    """verdict: the very same work; other work with the same output; another output; or work of one side alone."""
    if match.a is None or match.b is None:
        verdict = "only b" if match.a is None else "only a"
    elif match.same:
        verdict = "same"
    else:
        verdict = "same output" if match.a.output.digest == match.b.output.digest else "different"
    return {
        "stage": match.stage,
        "verdict": verdict,
        "changed": list(
            dict.fromkeys(OUTSIDE_WORLD if cause.name == OUTSIDE_WORLD else cause.kind for cause in causes)
        ),
        "inputs": [cause.name for cause in causes if cause.kind == "input" and cause.name != OUTSIDE_WORLD],
        "a": _side(store, match.a),
        "b": _side(store, match.b),
    }


def _side(store: Store, record: Record | None) -> Answer | None:
    """missing: why the output is not whole in the store, by the first problem of it; None if it is."""
    if record is None:
        return None
    return {
        **record.named(),
        "created": record.created,
        "missing": next(iter(store.problems(record.output)), None),
        "accepted": record.accepted.model_dump(mode="json") if record.accepted else None,
    }


def _plain(cause: Cause) -> Answer:
    return {"stage": cause.stage, **cause.model_dump(mode="json")}


def _with_diff(store: Store, cause: Cause) -> Cause:
    shown = sources.difference(store, cause.name, cause.old, cause.new, {})
    return cause.model_copy(update={"diff": shown, "note": None if shown else sources.NOT_KEPT})


def _first_cause(matches: list[Match], own: list[list[Cause]]) -> Answer | None:
    """What differs first of all: a stage's own difference, or an input that only one side has.

    Where there is neither, one of the two was made from the other, or on from the same: the first stage that only one
    side has.
    """
    both = [record for match in matches if match.a and match.b for record in (match.a, match.b)]
    taken = {artifact for record in both for artifact in record.inputs.values()}
    alone = [match for match in matches if match.a is None or match.b is None]
    for match, causes in zip(matches, own, strict=True):
        if causes:
            return _plain(causes[0])
        if match in alone and any(record.artifact in taken for record in (match.a, match.b) if record):
            return _only_one_has(match)
    return _only_one_has(alone[0]) if alone else None


def _only_one_has(match: Match) -> Answer:
    digests = [None if record is None else record.output.digest for record in (match.a, match.b)]
    return {"stage": match.stage, "kind": "stage", "name": match.stage, "old": digests[0], "new": digests[1]}


def _metrics(store: Store, a: list[Record], b: list[Record], matches: list[Match]) -> Iterator[Answer]:
    """Figures of the stages that both sides have, and of how the two were evaluated afterwards."""
    for match in matches:
        if match.a is not None and match.b is not None and not match.same:
            yield from figures(match.stage, match.a.metrics, match.b.metrics)
    known = {record.key for match in matches for record in (match.a, match.b) if record is not None}
    graph = Graph(headers(store))
    one, other = (_evaluation(store, graph, side, known) for side in (a, b))
    if one is not None and other is not None and one.output.digest != other.output.digest:
        yield from figures(one.stage, one.metrics, other.metrics)


def _evaluation(store: Store, graph: Graph, targets: list[Record], known: set[str]) -> Record | None:
    """The newest evaluation of what is compared, where that is not what is compared itself."""
    found = [
        header
        for target in targets
        if target.output.kind in MODELS
        for header in graph.takers(target.output.digest)
        if header.kind == EVALUATION and header.key not in known
    ]
    newest = max(found, key=lambda header: header.created, default=None)
    return None if newest is None else store.maker(newest.artifact)


# -- data --------------------------------------------------------------------------------------------------------------


def _collections(
    store: Store, a: list[Record], b: list[Record], matches: list[Match], causes: list[list[Cause]], report: Report
) -> Iterator[Difference]:
    """What models learn documents from, of both sides; where there is none of it, what is compared itself."""
    reshaped = next(
        (
            match.stage
            for match, found in zip(matches, causes, strict=True)
            if match.b is not None and match.b.output.kind == CORPUS and any(cause.kind in OWN for cause in found)
        ),
        None,
    )
    files = _files(store, [match.a for match in matches]), _files(store, [match.b for match in matches])
    pairs: list[tuple[Record | None, Record | None]] = [
        (match.a, match.b) for match in matches if _kind(match) in TRAINED_FROM
    ]
    if not pairs:
        corpora = [[record if record.output.kind == CORPUS else None for record in side] for side in (a, b)]
        pairs = [pair for pair in zip(*corpora, strict=False) if any(pair)]
    for one, other in pairs:
        report(f"comparing the documents of {(other or one).stage}")  # type: ignore[union-attr]
        yield Difference(store, one, other, files, reshaped)


def _kind(match: Match) -> str:
    record = match.b or match.a
    assert record is not None
    return record.output.kind


def _files(store: Store, records: list[Record | None]) -> Files:
    """The addresses of the files that the snapshots among `records` name; None if one cannot be read."""
    found: set[str] = set()
    for record in records:
        if record is not None and record.output.kind == outside.SNAPSHOT:
            path = store.object_path(record.output.digest) / outside.ITEMS
            try:
                found.update(pq.read_table(path, columns=["uri"])["uri"].to_pylist())
            except (OSError, pa.ArrowException):
                return None
    return found


def _sources(store: Store, matches: list[Match]) -> Answer | None:
    """{"changed", "removed", "added"}: files of the outside world; None where nobody can say."""
    changed: Answer = {"changed": [], "removed": [], "added": []}
    for match in matches:
        if match.a is None or match.b is None or match.b.output.kind != outside.SNAPSHOT:
            continue
        if match.a.output.digest != match.b.output.digest:
            folders = (store.object_path(record.output.digest) for record in (match.a, match.b))
            found = outside.changes(*folders)
            if found is None:
                return None
            changed = {what: [*changed[what], *uris] for what, uris in found.items()}
    return changed
