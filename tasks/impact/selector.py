"""Which documents are meant: by id, by text, by source, licence or annotator; and which others nearly repeat them."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.impact import scan
from tasks.impact.census import DESCRIPTION, NOT_NAMED, TRAINED_FROM, Said, StoreView, as_flags
from tasks.impact.passages import passages
from tasks.impact.similar import Copies, Match, Report, copies_of, likeness, similar, unsorted_texts
from tasks.lineage.errors import ConfigError, NotFound
from tasks.lineage.fates import fates_of
from tasks.lineage.sorted_ids import ID_DIGITS, Ids, prefix_range, short_id
from tasks.lineage.store import Store

SHORTEST_PREFIX = 4
TEXT, PAIR, RANKING = "text", "pair", "ranking"
UNSORTED_TEXTS = 500_000
EMPTY: Mapping[int, Any] = {}

Near: TypeAlias = Literal["all", "sorted", "none"]

logger = logging.getLogger("pedigree.impact")


class Selector(BaseModel):
    """Documents by what is known of them.

    Within one field any value will do. `docs` and `texts` name documents and add up; sources, licenses and annotators
    each narrow what was named, or of all documents, where none was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    docs: tuple[str, ...] = Field((), description="doc_ids or pair_ids, or beginnings of four digits and more")
    texts: tuple[str, ...] = Field((), description="contents: exact and near copies are meant, and passages of them")
    sources: tuple[str, ...] = Field((), description="globs on source URI, origin or, without a scheme, file path")
    licenses: tuple[str, ...] = Field((), description="SPDX identifiers, any case; 'unknown' for none")
    annotators: tuple[str, ...] = Field((), description="ids of those who ranked; rankings by them are meant")

    @property
    def empty(self) -> bool:
        return not any(getattr(self, name) for name in type(self).model_fields)


@dataclass(frozen=True)
class FoundDocument:
    """A text, a prompt with its answer, or a ranking of answers, and where it is.

    similarity: Jaccard, to what was asked for, or of a passage of it the share that is in it; 1.0 for exact. held_by:
    digests of the stored outputs that hold it.
    kind: "text", "pair" or "ranking". doc_id of a pair is its pair_id, of a ranking the pair_id of its prompt.
    replaces: of a near-duplicate, the doc_id of a matched document that it was dropped for, and would stand in for.
    """

    doc_id: str
    source: str | None
    origin: str | None
    license: str | None
    similarity: float
    held_by: list[str]
    kind: str = TEXT
    replaces: str | None = None


@dataclass(frozen=True)
class Selection:
    """documents: those meant. near_duplicates: others that would still be there if just those were removed. notes: what
    was left out of the search, and why."""

    documents: list[FoundDocument]
    near_duplicates: list[FoundDocument]
    notes: list[str] = field(default_factory=list)

    @property
    def holding(self) -> frozenset[str]:
        """Digests of the stored outputs that hold any of the documents meant."""
        return frozenset(digest for document in self.documents for digest in document.held_by)


@dataclass(frozen=True)
class Found:
    """A selection with what the walk through the store needs. said: by digest, the fates of the documents (M,).

    said of rankings tells of the outputs that hold rankings by the annotators asked for, and of no others. unmatched:
    which of the texts asked for nothing is like.
    """

    view: StoreView
    selection: Selection
    said: Mapping[str, Said]
    unmatched: Sequence[int] = ()


def select(store: Store, selector: Selector, *, near: Near = "all", report: Report = logger.info) -> Selection:
    """The documents meant. near: whether near-duplicates are looked for among all texts; "sorted": not where more than
    UNSORTED_TEXTS have to be sorted first. report: is told what takes long.

    Raises ConfigError for an empty selector, NotFound for a doc_id that no output names."""
    return find(StoreView(store), selector, near=near, report=report).selection


def find(view: StoreView, selector: Selector, *, near: Near = "all", report: Report = logger.info) -> Found:
    """As `select`, with the view and the fates it was found by."""
    if selector.empty:
        raise ConfigError("say which documents: by id, text, source, licence or annotator")
    globs = scan.Globs(selector.sources, Path.cwd())
    if selector.annotators:
        documents, said = _rankings(view, selector, globs)
        return Found(view, Selection(documents, []), said)
    notes: list[str] = []
    unmatched = set(range(len(selector.texts)))
    if selector.docs or selector.texts:
        named = _by_id(view, selector.docs)
        similarity = dict.fromkeys(named.values(), 1.0)
        copies = copies_of(view) if selector.texts else None
        for match in _like(view, selector.texts, copies, report, notes) if copies else ():
            short = short_id(match.doc_id)
            similarity[short] = max(match.similarity, similarity.get(short, 0.0))
            unmatched.discard(match.asked)
        notes += [f"nothing stored says what text {number + 1} says, nearly or in part" for number in sorted(unmatched)]
        ids = np.array(sorted(similarity), np.uint64)
        said = view.census(ids)
        _check_named(named, ids, said)
        documents = _described(view, ids, said, [similarity[int(short)] for short in ids])
        chosen = [
            row for row, document in enumerate(documents)
            if globs.match(document.source, document.origin) and _licensed(document.license, selector.licenses)
        ]  # fmt: skip
        ids, documents = ids[chosen], [documents[row] for row in chosen]
        said = {digest: Said(found.labels, found.codes[chosen]) for digest, found in said.items()}
    else:
        rows = scan.documents(view, globs, selector.licenses)
        ids = np.array(sorted(rows), np.uint64)
        said = view.census(ids)
        found_so_far = [_found(rows[int(short)], 1.0) for short in ids]
        documents = _with_holders(view, said, found_so_far)
    others = [] if near == "none" or not len(ids) else _near(view, ids, documents, said, near, report, notes)
    return Found(view, Selection(documents, others, notes), said, sorted(unmatched))


def _like(view: StoreView, texts: Sequence[str], copies: Copies, report: Report, notes: list[str]) -> Iterator[Match]:
    """What says the same as one of the texts, whole or cut."""
    yield from similar(view, texts, copies, report, notes)
    yield from passages(view, texts, copies, report)


def _licensed(found: str | None, wanted: Iterable[str]) -> bool:
    wanted = [name.lower() for name in wanted]
    return not wanted or (found or scan.UNKNOWN_LICENSE).lower() in wanted


def _by_id(view: StoreView, docs: Iterable[str]) -> dict[str, int]:
    """Short ids of documents by id or by its beginning. Raises ConfigError for the beginning of several."""
    beginnings: dict[str, set[int]] = {
        doc: set() for doc in docs if SHORTEST_PREFIX <= len(doc) < ID_DIGITS and not set(doc) - set("0123456789abcdef")
    }
    for fates in view.fates() if beginnings else ():
        for doc, found in beginnings.items():
            found |= fates.between(*prefix_range(doc))
    for doc, found in beginnings.items():
        if len(found) > 1:
            raise ConfigError(f"{doc!r} begins the ids of {len(found)} documents; give more digits")
    return {doc: next(iter(beginnings.get(doc, ())), short_id(doc)) for doc in docs}


def _check_named(named: Mapping[str, int], ids: Ids, said: Mapping[str, Said]) -> None:
    """Raises NotFound for a document that no output names."""
    known = np.zeros(len(ids), bool)
    for found in said.values():
        known |= found.codes != NOT_NAMED
    there = set(ids[known].tolist())
    for doc, short in named.items():
        if short not in there:
            raise NotFound(
                f"no stored output names a document {doc!r}. Give an id from a ledger or from `pedigree lineage TARGET "
                f"--documents --json`, or {SHORTEST_PREFIX} and more of its digits."
            )


def _found(described: Sequence[Any], similarity: float) -> FoundDocument:
    """What a table says of a document: its id, then the columns of DESCRIPTION."""
    doc_id, source, origin, license_ = described
    return FoundDocument(doc_id, source, origin, license_, similarity, [])


def _described(
    view: StoreView, ids: Ids, said: Mapping[str, Said], similarity: list[float], known: Mapping[int, Any] = EMPTY
) -> list[FoundDocument]:
    """Documents (M,) with what the tables say of them, in the order of `ids`. known: rows read already, by short id."""
    rows = {index: known[short] for index, short in enumerate(ids.tolist()) if short in known}
    unread = np.array([index for index in range(len(ids)) if index not in rows], np.int64)
    about = {digest: Said(of.labels, of.codes[unread]) for digest, of in said.items()}
    for index, row in view.rows(about, ids[unread], DESCRIPTION):
        rows[int(unread[index])] = row
    documents = []
    for index, short in enumerate(ids):
        row = rows.get(index, {})
        described = (row.get("id", f"{int(short):016x}"), *(row.get(name) for name in DESCRIPTION))
        documents.append(_found(described, similarity[index]))
    return _with_holders(view, said, documents)


def _with_holders(view: StoreView, said: Mapping[str, Said], documents: list[FoundDocument]) -> list[FoundDocument]:
    """The documents with the outputs that hold them, and so what they are."""
    holders: dict[int, list[str]] = defaultdict(list)
    pairs: set[int] = set()
    for digest in view.in_time(said):
        of_pairs = bool(view.kinds(digest) & {"pairs", "rankings"})
        for index in np.flatnonzero(said[digest].codes != NOT_NAMED).tolist() if of_pairs else ():
            pairs.add(index)
        for index in (
            np.flatnonzero(as_flags(said[digest].held(), len(documents))).tolist() if digest in view.present else ()
        ):
            holders[index].append(digest)
    return [
        replace(document, held_by=holders[index], kind=PAIR if index in pairs else TEXT)
        for index, document in enumerate(documents)
    ]


def _rankings(view: StoreView, selector: Selector, globs: "scan.Globs") -> tuple[list[FoundDocument], dict[str, Said]]:
    """The rankings by the annotators asked for. A ranking is known by its prompt's pair_id and its annotator."""
    named = {short_id(doc) for doc in selector.docs}
    found, said = scan.rankings(view, selector.annotators)
    chosen = [
        row for row, ranking in enumerate(found)
        if (not named or short_id(ranking.prompt_id) in named) and globs.match(None, ranking.origin)
    ]  # fmt: skip
    documents = [
        FoundDocument(
            found[row].prompt_id, f"annotator:{found[row].annotator}", found[row].origin, None, 1.0,
            [digest for digest in view.in_time(said) if said[digest].fate(row).held], RANKING,
        )
        for row in chosen
    ]  # fmt: skip
    return documents, {digest: Said(of.labels, of.codes[chosen]) for digest, of in said.items()}


def _near(
    view: StoreView,
    ids: Ids,
    documents: list[FoundDocument],
    said: Mapping[str, Said],
    near: Near,
    report: Report,
    notes: list[str],
) -> list[FoundDocument]:
    """Near-duplicates of the matched documents that removing just those would leave in the training data, or in what
    was adopted: they are kept, or they were dropped as copies of a matched one and would stand in for it."""
    matched = {int(short): document.doc_id for short, document in zip(ids, documents, strict=True)}
    copies = copies_of(view)
    texts = _texts(view, ids, said)
    similarity: dict[int, float] = {}
    rows: dict[int, dict[str, Any]] = {}
    unsorted = unsorted_texts(view, copies) if near == "sorted" else 0
    if unsorted > UNSORTED_TEXTS:
        notes.append(
            f"near-duplicates are told by the ledgers alone: {unsorted:,} texts are not sorted by likeness yet (--near "
            "sorts them, some 50,000 a second)"
        )
    compared = list(texts.values()) if unsorted <= UNSORTED_TEXTS else []
    for match in similar(view, compared, copies, report, notes, raw=False):
        short = short_id(match.doc_id)
        similarity[short] = max(match.similarity, similarity.get(short, 0.0))
        rows.setdefault(short, match.row)
    chained, stands_in = _by_ledgers(view, ids, said)
    others = np.array(sorted((similarity.keys() | chained.keys()) - matched.keys()), np.uint64)
    about = view.census(others)
    unmeasured = np.array([short for short in others.tolist() if short not in similarity], np.uint64)
    for short, text in _texts(view, unmeasured, view.census(unmeasured)).items():
        known = [texts[mine] for mine in chained[short] if mine in texts]
        similarity[short] = max(likeness(text, known, copies), default=copies.threshold)
    found = _described(view, others, about, [similarity.get(int(short), copies.threshold) for short in others], rows)
    remaining = _remaining(view, about, len(others))
    return [
        replace(document, replaces=matched.get(stands_in.get(int(short), -1)))
        for short, document, kept in zip(others, found, remaining, strict=True)
        if kept or int(short) in stands_in
    ]


def _by_ledgers(view: StoreView, ids: Ids, said: Mapping[str, Said]) -> tuple[dict[int, set[int]], dict[int, int]]:
    """What the ledgers call copies of the documents, each with those it is a copy of (it need not be like them, where
    others stand between); and which of them were dropped in favour of which document."""
    copies: dict[int, set[int]] = defaultdict(set)
    stands_in: dict[int, int] = {}
    for digest in said:
        fates = fates_of(view.store, digest)
        assert fates is not None
        for mine, other in fates.kept_over(ids):
            copies[other].add(mine)
        for mine, other in fates.dropped_for(ids):
            copies[other].add(mine)
            stands_in.setdefault(other, mine)
    return copies, stands_in


def _remaining(view: StoreView, said: Mapping[str, Said], count: int) -> np.ndarray:
    """(M,): whether an output holds the document that training reads from, or that was adopted and any run may take."""
    held = np.zeros(count, bool)
    for digest, about in said.items():
        if digest in view.present and (view.kinds(digest) & TRAINED_FROM or view.declared(digest)):
            held |= as_flags(about.held(), count)
    return held


def _texts(view: StoreView, ids: Ids, said: Mapping[str, Said]) -> dict[int, str]:
    """Short id → text of the documents that the store still holds; of a pair its prompt and its answer as one."""
    found = {}
    for index, row in view.rows(said, ids, ("text", "prompt", "response")):
        parts = [row[name] for name in ("text", "prompt", "response") if row.get(name)]
        if parts:
            found[int(ids[index])] = "\n".join(parts)
    return found
