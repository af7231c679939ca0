"""Which documents one output holds and another does not, and why: dropped by which rule, new, gone, or changed.

A document's id is a digest of its source's address and its content. So a document whose text changed at the source is,
in the store, one that is gone and one that is new at the same address: they are taken together where an address names
one of each (a version of a package in the address does not count). Of documents that both sides hold, the texts are
compared where code or settings that may shape texts differ.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.diff.addresses import (
    ADOPTED_GONE,
    EDITED,
    EDITED_ADOPTED,
    FILE_GONE,
    NEW_ADOPTED,
    NEW_FILE,
    NEW_PLACE,
    PLACE_GONE,
    SNAPSHOT,
    Change,
    Files,
    Group,
    addresses,
    among,
    give_reasons,
    once,
)  # fmt: skip
from tasks.diff.side import Side
from tasks.lineage.record import Record
from tasks.lineage.sorted_ids import Ids, short_id
from tasks.lineage.store import Store

CHANGES: tuple[Change, ...] = ("added", "removed", "changed", "moved")
NOT_TAKEN = "not taken"
REWRITTEN = "its text was prepared in another way"

Answer = dict[str, Any]


class Difference:
    """The documents of two outputs compared. One of the two may be None.

    files: of both sides. reshaped: a stage whose code or settings differ and that may shape texts.
    """

    def __init__(
        self, store: Store, a: Record | None, b: Record | None, files: tuple[Files, Files], reshaped: str | None
    ) -> None:
        record = b or a
        assert record is not None
        self.kind, self.stage = record.output.kind, record.stage
        self.a, self.b = (None if one is None else Side(store, one) for one in (a, b))
        self._files, self._reshaped = files, reshaped
        self.groups: list[Group] = []
        self.same: int | None = None
        if self.a is not None and self.b is not None and self.a.fates is not None and self.b.fates is not None:
            self._compare(self.a, self.b)

    def answer(self) -> Answer:
        """{"kind", "stage", "a", "b", "same", "added", "removed", "changed", "moved", "origins", "notes"}; what is not
        known is None."""
        known = self.same is not None
        answer: Answer = {
            "kind": self.kind,
            "stage": self.stage,
            "a": _counts(self.a),
            "b": _counts(self.b),
            "same": self.same,
            **{change: self._summary(change) if known else None for change in CHANGES},
            "origins": self._origins() if self.groups else [],
        }
        notes = [note for side in (self.a, self.b) if side is not None for note in side.notes]
        return {**answer, "notes": list(dict.fromkeys(notes))}

    def entries(self) -> Iterator[Answer]:
        """Every document that is not the same on both sides; read from the tables as it is asked for."""
        for group in self.groups:
            told = np.zeros(len(group.ids), bool)
            for row in group.side.rows(group.ids):
                number = int(np.searchsorted(group.ids, np.uint64(short_id(row["id"]))))
                if not told[number]:
                    told[number] = True
                    yield self._entry(group, number, row)
            for number in np.flatnonzero(~told).tolist():
                yield self._entry(group, number, {"id": f"{int(group.ids[number]):016x}"})

    # -- which they are ------------------------------------------------------------------------------------------------

    def _compare(self, a: Side, b: Side) -> None:
        if a.record.output.digest == b.record.output.digest:
            self.same = len(a.ids)
            return
        in_b = among(a.ids, b.ids)
        common = a.ids[in_b]
        gone = _without("removed", a.ids[~in_b], a, b)
        new = _without("added", b.ids[~among(b.ids, a.ids)], b, a)
        gone, new, edited = self._edited(gone, new)
        rewritten = self._rewritten(common, a, b)
        moved = self._moved(common[~among(common, rewritten.ids)], a, b)
        self.groups = [group for group in (new, gone, edited, rewritten, moved) if len(group.ids)]
        self.same = len(common) - len(rewritten.ids) - len(moved.ids)

    def _edited(self, gone: Group, new: Group) -> tuple[Group, Group, Group]:
        """What is gone and new without what changed, with a reason from the sources; and what changed."""
        files_a, files_b = self._files
        before, after = addresses(gone, files_b), addresses(new, files_a)
        old, now = once(before), once(after)
        _, left, right = np.intersect1d(old.places, now.places, assume_unique=True, return_indices=True)
        order = np.argsort(now.ids[right])
        reasons = [(SNAPSHOT, EDITED), *((stage, EDITED_ADOPTED) for stage, _ in new.side.adopted)]
        changed = Group(
            "changed", new.side, now.ids[right][order], reasons, now.adopted[right][order] + 1, old.ids[left][order]
        )
        give_reasons(gone, before, files_b, (FILE_GONE, PLACE_GONE), ADOPTED_GONE)
        give_reasons(new, after, files_a, (NEW_FILE, NEW_PLACE), NEW_ADOPTED)
        return (
            gone.only(~among(gone.ids, np.sort(old.ids[left]))),
            new.only(~among(new.ids, np.sort(now.ids[right]))),
            changed,
        )

    def _rewritten(self, common: Ids, a: Side, b: Side) -> Group:
        """Documents of both sides whose text is not the same on both."""
        ids = common[:0]
        one, other = (a.texts(), b.texts()) if self._reshaped is not None and len(common) else (None, None)
        if one is not None and other is not None:
            (known_a, hashes_a), (known_b, hashes_b) = one, other
            in_a, in_b = np.searchsorted(a.ids, common), np.searchsorted(b.ids, common)
            ids = common[known_a[in_a] & known_b[in_b] & (hashes_a[in_a] != hashes_b[in_b])]
        codes = np.zeros(len(ids), np.int64)
        return Group("changed", b, ids, [(self._reshaped or "", REWRITTEN)], codes, ids)

    def _moved(self, common: Ids, a: Side, b: Side) -> Group:
        """Documents of both sides that are set apart for something else."""
        was, is_now = ([*side.splits[0], None] for side in (a, b))
        old, new = a.splits[1][np.searchsorted(a.ids, common)], b.splits[1][np.searchsorted(b.ids, common)]
        same = np.array([is_now.index(name) if name in is_now else -1 for name in was])
        apart = same[old] != new
        pairs, codes = np.unique(old[apart].astype(np.int64) * len(is_now) + new[apart], return_inverse=True)
        reasons = [
            (b.record.stage, f"{was[pair // len(is_now)] or 'none'} → {is_now[pair % len(is_now)] or 'none'}")
            for pair in pairs.tolist()
        ]
        return Group("moved", b, common[apart], reasons, codes.astype(np.int64))

    # -- how they are told ---------------------------------------------------------------------------------------------

    def _summary(self, change: Change) -> Answer:
        """{"documents", "tokens", "by_reason": [{"stage", "reason", "documents"}], "by_origin": {origin: count}}."""
        reasons: Counter[tuple[str, str]] = Counter()
        origins: Counter[str] = Counter()
        documents, tokens = 0, None
        for group in self.groups:
            if group.change != change:
                continue
            documents += len(group.ids)
            for why, count in zip(group.reasons, np.bincount(group.codes).tolist(), strict=False):
                reasons[why] += count
            places = np.searchsorted(group.side.ids, group.ids)
            names, numbers = group.side.origins
            for name, count in zip(names, np.bincount(numbers[places]).tolist(), strict=False):
                origins[name] += count
            if group.side.tokens is not None:
                tokens = (tokens or 0) + int(group.side.tokens[places].sum(dtype=np.int64))
        return {
            "documents": documents,
            "tokens": tokens,
            "by_reason": [
                {"stage": stage, "reason": reason, "documents": count} for (stage, reason), count in _by_count(reasons)
            ],
            "by_origin": dict(_by_count(origins)),
        }

    def _origins(self) -> list[Answer]:
        """{"origin", "a": {"documents", "tokens"}, "b": …} of the origins whose counts differ, by name."""
        assert self.a is not None and self.b is not None
        one, other = _by_origin(self.a), _by_origin(self.b)
        nothing = {"documents": 0, "tokens": None if self.a.tokens is None or self.b.tokens is None else 0}
        rows = [(name, one.get(name, nothing), other.get(name, nothing)) for name in sorted({*one, *other})]
        return [{"origin": name, "a": a, "b": b} for name, a, b in rows if a != b]

    def _entry(self, group: Group, number: int, row: Answer) -> Answer:
        place = np.searchsorted(group.side.ids, group.ids[number])
        names, splits = group.side.splits
        stage, reason = group.reasons[int(group.codes[number])]
        return {
            "kind": self.kind,
            "change": group.change,
            "doc_id": row["id"],
            "was": None if group.was is None else f"{int(group.was[number]):016x}",
            "source": row.get("source"),
            "origin": row.get("origin"),
            "license": row.get("license"),
            "split": names[splits[place]],
            "tokens": None if group.side.tokens is None else int(group.side.tokens[place]),
            "stage": stage,
            "reason": reason,
        }


def _without(change: Change, ids: Ids, has: Side, lacks: Side) -> Group:
    """Documents that only `has` holds, with what became of them on the other side; code −1 where it names them not."""
    told, codes, named = lacks.dropped(ids)
    passed_over = (codes < 0) & named
    codes[passed_over] = len(told)
    return Group(change, has, ids, [*told, (lacks.record.stage, NOT_TAKEN)], codes)


def _by_count(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """Those that are not 0, the most frequent first."""
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda item: (-item[1], item[0]))


def _counts(side: Side | None) -> Answer | None:
    """{"digest", "documents", "splits": {split: {"documents", "tokens"}}, "tokens"}; what is not known is None."""
    if side is None:
        return None
    digest = side.record.output.digest
    if side.fates is None:
        kept = (side.record.documents or {}).get("documents_kept")
        return {"digest": digest, "documents": kept, "tokens": None, "splits": None}
    names, numbers = side.splits
    documents, tokens = _count(numbers, len(names), side)
    splits = {
        name or "none": {"documents": documents[number], "tokens": tokens and tokens[number]}
        for number, name in enumerate(names)
        if documents[number]
    }
    return {"digest": digest, "documents": len(side.ids), "tokens": tokens and sum(tokens), "splits": splits}


def _by_origin(side: Side) -> dict[str, Answer]:
    names, numbers = side.origins
    documents, tokens = _count(numbers, len(names), side)
    return {
        name: {"documents": documents[number], "tokens": tokens and tokens[number]}
        for number, name in enumerate(names)
        if documents[number]
    }


def _count(numbers: NDArray[Any], kinds: int, side: Side) -> tuple[list[int], list[int] | None]:
    """How many of a side's documents are of each kind (K,), and how many tokens these have, where that is told."""
    documents = np.bincount(numbers, minlength=kinds).tolist()
    if side.tokens is None:
        return documents, None
    return documents, [int(count) for count in np.bincount(numbers, side.tokens, kinds)]
