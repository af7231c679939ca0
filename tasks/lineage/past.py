"""The earlier work of each stage, and which piece of it is nearest to a new one.

Ten thousand records are too many to read for one question. Their headers tell which inputs differ, and whether the
settings, the code and the versions do; so what is read is only what may be nearer than the best that was found.
"""

import heapq
from collections.abc import Callable
from functools import cached_property

from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.sides import Sides, different, distances
from tasks.lineage.store import Store


class Past:
    """From one reading of the headers: ask several questions of the same one."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def _headers(self) -> dict[str, list[Header]]:
        """By stage, the newest first."""
        found: dict[str, list[Header]] = {}
        for header in headers(self.store):
            if not header.superseded:
                found.setdefault(header.stage, []).append(header)
        for same in found.values():
            same.sort(key=lambda header: header.created, reverse=True)
        return found

    def nearest(self, stage: str, now: Sides, among: Callable[[Header], bool] = lambda header: True) -> Record | None:
        """The record of a stage from which the fewest things differ, of those `among`; None if there is none.

        Of several, one of which fewer kinds of things differ, then the newest.
        """
        search = _Search(now)
        headers_of_stage = enumerate(self._headers.get(stage, ()))
        waiting = [(search.least(header), place, header) for place, header in headers_of_stage if among(header)]
        heapq.heapify(waiting)
        best: tuple[int, Record] | None = None
        while waiting and (best is None or waiting[0][0] < best[0]):
            _, place, header = heapq.heappop(waiting)
            least = search.least(header)  # more may be known of it than when it was put there
            if best is not None and least >= best[0]:
                continue
            if waiting and least > waiting[0][0]:
                heapq.heappush(waiting, (least, place, header))
                continue
            record = self.store.record(header.key)
            if record is None:  # removed or set aside since the headers were read
                continue
            exact = search.measure(header, record)
            if best is None or exact < best[0]:
                best = exact, record
        return best[1] if best else None


class _Search:
    """Distances from `now`: bounds from headers, exact for what has been read.

    Records share settings, code and versions; so one that was read tells the distance of all that have the same.
    """

    def __init__(self, now: Sides) -> None:
        self._now = now
        self._known = tuple({digest: 0} for digest in now.identity)

    def least(self, header: Header) -> int:
        """The fewest things that may differ in the record of a header."""
        inputs = {name: artifact.digest for name, artifact in header.inputs.items()}
        rest = (known.get(digest, 1) for known, digest in zip(self._known, header.identity, strict=True))
        return len(different(inputs, self._now.inputs)) + sum(rest)

    def measure(self, header: Header, record: Record) -> int:
        """How many things differ in a record; what was learnt holds for others too."""
        found = distances(Sides.of_record(record), self._now)
        for known, digest, distance in zip(self._known, header.identity, found, strict=True):
            known[digest] = distance
        return self.least(header)
