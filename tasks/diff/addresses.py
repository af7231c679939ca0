"""Where documents stand in the sources: which changed at their place, which are new there, and which are gone."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from tasks.diff.side import Side
from tasks.lineage.sorted_ids import Ids, short_id

Change = Literal["added", "removed", "changed", "moved"]
NEW_FILE, NEW_PLACE = "its file is new in the sources", "new in its file"
FILE_GONE, PLACE_GONE = "its file is gone from the sources", "no longer in its file"
NEW_ADOPTED, ADOPTED_GONE = "new among what was adopted", "no longer among what was adopted"
EDITED = "its text changed at the source"
EDITED_ADOPTED = "its text changed in the files that were adopted"
UNKNOWN = "not among its documents"
SNAPSHOT = "snapshot"  # the stage that looks at the sources
_VERSION = re.compile(r"^(pypi://[^/]+)/[^/]+/")

Files = AbstractSet[str] | None
"""Addresses of the files that a side's sources hold; None if nobody knows."""


@dataclass
class Group:
    """Some documents (M,) that changed in one way, described on one side. reasons: (stage, why); codes: each one's.

    was: what a changed one was before.
    """

    change: Change
    side: Side
    ids: Ids
    reasons: list[tuple[str, str]]
    codes: NDArray[np.int64]
    was: Ids | None = None

    def only(self, keep: NDArray[np.bool_]) -> "Group":
        was = None if self.was is None else self.was[keep]
        return Group(self.change, self.side, self.ids[keep], self.reasons, self.codes[keep], was)


class Addresses(NamedTuple):
    """Of documents (M,): a hash of where each stands in the sources; whether the other side knows its file; by which
    of its side's adoptions it was taken in (Side.adopted), −1 if by none."""

    ids: Ids
    places: NDArray[np.uint64]
    known: NDArray[np.bool_]
    adopted: NDArray[np.int64]


def among(ids: Ids, others: Ids) -> NDArray[np.bool_]:
    """Which of `ids` (M,) are among `others`, in rising order."""
    if not len(others):
        return np.zeros(len(ids), bool)
    places = np.searchsorted(others, ids)
    places[places == len(others)] = 0
    return np.asarray(others[places] == ids)


def address(source: str) -> str:
    """A source's address without the version of a package in it."""
    return _VERSION.sub(r"\1/", source)


def addresses(group: Group, files: Files) -> Addresses:
    """Of the documents that the other side does not name; `files`: its own."""
    ids = group.ids[group.codes < 0]
    adopted = np.full(len(ids), -1, np.int64)
    places, known, told = np.zeros(len(ids), np.uint64), np.zeros(len(ids), bool), np.zeros(len(ids), bool)
    bare = frozenset(address(uri) for uri in files or ())
    for row in group.side.rows(ids):
        number = int(np.searchsorted(ids, np.uint64(short_id(row["id"]))))
        where = address(row["source"])
        places[number], told[number] = xxh3_64_intdigest(where.encode()), True
        known[number] = where.partition("#")[0] in bare
        adopted[number] = _adopted(row["source"], group.side)
    return Addresses(ids[told], places[told], known[told], adopted[told])


def _adopted(source: str, side: Side) -> int:
    for number, (_, origin) in enumerate(side.adopted):
        if source.startswith(origin) and source[len(origin) : len(origin) + 1] in ("", "/", "#"):
            return number
    return -1


def once(found: Addresses) -> Addresses:
    """Those whose address no other of them has, by address."""
    _, first, counts = np.unique(found.places, return_index=True, return_counts=True)
    chosen = first[counts == 1]
    return Addresses(*(array[chosen] for array in found))


def give_reasons(group: Group, found: Addresses, files: Files, words: tuple[str, str], adopted: str) -> None:
    """Give the documents that the other side does not name a reason. words: its file is not there, or is. adopted: of
    those that no snapshot saw."""
    unnamed = group.codes < 0
    first = len(group.reasons)
    if files is None:
        group.reasons.append((SNAPSHOT, UNKNOWN))
        group.codes[unnamed] = first
    else:
        group.reasons += [(SNAPSHOT, word) for word in words]
        group.codes[unnamed] = first
        group.codes[unnamed & among(group.ids, np.sort(found.ids[found.known]))] = first + 1
    for number, (stage, _) in enumerate(group.side.adopted):
        taken_in = unnamed & among(group.ids, np.sort(found.ids[found.adopted == number]))
        group.codes[taken_in] = len(group.reasons)
        group.reasons.append((stage, adopted))
