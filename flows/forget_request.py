"""`pedigree forget` before the flow: what is asked for, what would come of it, and the settings to rebuild with."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import overrides
from flows.errors import SettingsError
from flows.latest import course, met, rebuilt
from flows.presets import DATA, FLOW_SECTIONS, STAGES
from tasks.forget.cleaned_with import classifiers_of, foreseen
from tasks.forget.derived import derived
from tasks.forget.exclusions import ExcludeConfig, current, prints_of
from tasks.forget.fall import Fall, fall, models_of
from tasks.impact.census import StoreView
from tasks.impact.selector import Selection, Selector, find
from tasks.impact.similar import copies_of
from tasks.lineage.errors import NotFound
from tasks.lineage.gc import Doomed, size_of
from tasks.lineage.record import Record
from tasks.lineage.store import Store

SHOWN = 40  # characters of a text, to tell which is meant
REMEDY = "So nothing was forgotten; `pedigree impact` shows what a document, text or source is held by."


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, as the flow is told, and the documents of the store that are meant."""

    config: ExcludeConfig
    selection: Selection


def request(store: Store, selector: Selector, exact: bool) -> Request:
    """Raises NotFound or ConfigError where a document is not known, a text is like no stored one, or nothing is meant:
    a certificate over nothing would be read as one over what was looked for."""
    view = StoreView(store)
    threshold = copies_of(view).threshold
    searched = find(view, selector, near="none" if exact else "all")
    found = searched.selection
    for number in searched.unmatched:
        begin = " ".join(selector.texts[number].split())[:SHOWN]
        raise NotFound(f"No stored document says what the text {begin!r}… says, exactly, nearly or in part. {REMEDY}")
    if not found.documents:
        raise NotFound(f"Nothing stored answers to that. {REMEDY}")
    if not selector.texts:
        named = selector.model_dump(exclude={"texts"})
        return Request(ExcludeConfig(**named, exact=exact, threshold=threshold), found)
    meant = [document.doc_id for document in found.documents if not exact or document.similarity == 1.0]
    if not meant:
        raise NotFound(f"Nothing stored answers to all of that{' exactly' if exact else ''}. {REMEDY}")
    narrowed = selector.sources or selector.licenses or selector.annotators
    prints = () if narrowed else prints_of(list(selector.texts), threshold, exact)
    config = ExcludeConfig(docs=tuple(sorted(meant)), texts=prints, exact=exact, threshold=threshold)
    documents = [document for document in found.documents if document.doc_id in meant]
    return Request(config, Selection(documents, found.near_duplicates))


def dry_run(store: Store, asked: Request) -> dict[str, Any]:
    """What forgetting would do; nothing is written. As docs/schemas/forget-plan.json describes it."""
    made_from = derived(store, asked.selection.documents)
    fallen = fall(store, {*asked.config.of(asked.selection), *(document.doc_id for document in made_from)})
    models, registry = models_of(fallen.outputs)
    listed = current()
    held_by = course(asked.selection.holding)
    records = met(held_by)
    classifiers = foreseen(classifiers_of(records.get("clean")), fallen)
    would_go = [
        Doomed(output.header.digest, size_of(store.object_path(output.header.digest)))
        for output in fallen.outputs
        if output.stored
    ]
    return {
        "dry_run": True,
        "documents": [asdict(document) for document in asked.selection.documents],
        "near_duplicates": [] if asked.config.exact else [asdict(d) for d in asked.selection.near_duplicates],
        "made_from_them": [asdict(document) for document in made_from if document.held_by],
        "texts": [known.digest for known in asked.config.texts],
        "exclusions": listed.digest if listed else None,
        "rebuilds": {name: held_by[name] for name in ("flow", "flow_run_id", "started")} if held_by else None,
        "stages": would_run(fallen, records, {entry["digest"] for entry in classifiers if entry["changes"]}),
        "classifiers": classifiers,
        "tainted": [output.answer() for output in fallen.outputs],
        "models": models,
        "registry": registry,
        "purge": {"objects": len(would_go), "bytes": sum(doomed.bytes for doomed in would_go)},
    }


def would_run(fallen: Fall, records: Mapping[str, Record], classifiers: Collection[str]) -> list[dict[str, Any]]:
    """For each stage of the course to rebuild, whether forgetting would make it run.

    [{"stage", "digest", "verdict": "would run" | "cached", "changes": whether its output would differ}]. The output of
    a data stage changes if it names any of the documents (a ledger names what it dropped, too); any other, if it is
    made from one that changes. After one of the `classifiers` (digests) that learned from them, everything may change,
    and counts as if.
    """
    judged = set(classifiers)
    changed = set(judged)
    rows = []
    for stage in STAGES:
        record = records.get(stage)
        if record is None:
            continue
        inputs = {artifact.digest for artifact in record.inputs.values()}
        runs = stage in ("collect", "pair") or bool(inputs & changed)
        digest = record.output.digest
        if inputs & judged:
            judged.add(digest)
        changes = digest in fallen.said or digest in judged or (runs and stage not in DATA)
        if changes:
            changed.add(digest)
        rows.append(
            {"stage": stage, "digest": digest, "verdict": "would run" if runs else "cached", "changes": changes}
        )
    return rows


def parameters(
    asked: Request, preset: str | None, file: Path | None, assignments: Sequence[str], data_only: bool
) -> overrides.Settings:
    """The flow's parameters: the settings of the latest course that holds the documents, or those that are given, and
    what to forget.

    Raises SettingsError where neither is known.
    """
    rebuild = "train"
    if preset or file:
        settings = overrides.parameters("forget", preset or "demo", file, assignments)
    else:
        rebuild, settings = latest_settings(asked.selection.holding)
        settings = overrides.merge(settings, *(overrides.assignment(text) for text in assignments))
        if assignments:
            overrides.check(settings)
    exclude = {**asked.config.model_dump(mode="json"), "rebuild": "data" if data_only else rebuild}
    return {**settings, "exclude": exclude}


def latest_settings(holding: Collection[str] = ()) -> tuple[str, overrides.Settings]:
    """What is rebuilt, "train" or "data", and everything that the flow run was told which made it; see `course`."""
    entry = course(holding)
    if entry is None:
        raise SettingsError(
            "No flow run says with which settings to rebuild. Name them as for `pedigree run`: --preset or --config."
        )
    sections = {name: value for name, value in entry["settings"].items() if name in FLOW_SECTIONS["forget"]}
    sections.pop("exclude", None)
    return rebuilt(entry), sections
