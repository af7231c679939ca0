"""The graph of all records: what each was made from, and what was made from it.

An edge goes from the record that made an artifact to every record that took it, by key and digest, so that an output
that a later run of the same key replaced keeps the consumers it had, and its successor gets none of them.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import cached_property

from tasks.lineage.artifact import Artifact
from tasks.lineage.headers import Header

Identity = tuple[str, str]  # key and digest


class Graph:
    """Built once from headers; every question is then a look-up or one walk, without recursion."""

    def __init__(self, headers: Iterable[Header]) -> None:
        self.headers = list(headers)
        self._by_identity: dict[Identity, Header] = {}
        for header in self.headers:
            kept = self._by_identity.get((header.key, header.digest))
            if kept is None or kept.superseded:  # a key may have come back to an output that it gave before
                self._by_identity[header.key, header.digest] = header

    def maker(self, artifact: Artifact) -> Header | None:
        """Who made this very artifact; None if its record is gone."""
        return self._by_identity.get((artifact.key, artifact.digest))

    def made_by(self, digest: str) -> list[Header]:
        """Every record whose output has this digest: more than one where different work gave the same content."""
        return list(self._by_digest.get(digest, ()))

    def takers(self, digest: str) -> list[Header]:
        """Every record that took an artifact with this digest, whoever made it; also where its maker's is gone."""
        return list(self._takers.get(digest, ()))

    def parents(self, header: Header) -> list[Header]:
        """The records of its inputs, each once; inputs whose record is gone are left out (see `orphaned`)."""
        found = {id(maker): maker for artifact in header.inputs.values() if (maker := self.maker(artifact))}
        return list(found.values())

    def orphaned(self, header: Header) -> list[Artifact]:
        """Its inputs whose record is gone."""
        return [artifact for artifact in header.inputs.values() if self.maker(artifact) is None]

    def children(self, header: Header) -> list[Header]:
        """The records that took its output, each once."""
        return list(self._children.get((header.key, header.digest), ()))

    def ancestors(self, header: Header) -> list[Header]:
        """Everything it was made from, however far back, nearest first, itself left out."""
        return self._walk(header, self.parents)

    def descendants(self, header: Header) -> list[Header]:
        """Everything made from it, however far on, nearest first, itself left out."""
        return self._walk(header, self.children)

    def ends(self, some: Iterable[Header]) -> list[Header]:
        """Those of `some` that went into no other of them, the one made of the most first."""
        behind = [(header, {other.id for other in self.ancestors(header)}) for header in some]
        taken = set().union(*(names for _, names in behind))
        ends = [(header, names) for header, names in behind if header.id not in taken]
        return [header for header, _ in sorted(ends, key=lambda end: (-len(end[1]), end[0].stage, end[0].id))]

    def _walk(self, start: Header, step: Callable[[Header], list[Header]]) -> list[Header]:
        seen = {(start.key, start.digest)}
        found: list[Header] = []
        waiting = deque([start])
        while waiting:
            for header in step(waiting.popleft()):
                if (header.key, header.digest) not in seen:
                    seen.add((header.key, header.digest))
                    found.append(header)
                    waiting.append(header)
        return found

    @cached_property
    def _by_digest(self) -> dict[str, list[Header]]:
        found = defaultdict(list)
        for (_, digest), header in self._by_identity.items():
            found[digest].append(header)
        return found

    @cached_property
    def _takers(self) -> dict[str, list[Header]]:
        found = defaultdict(list)
        for header in self._by_identity.values():
            for digest in {artifact.digest for artifact in header.inputs.values()}:
                found[digest].append(header)
        return found

    @cached_property
    def _children(self) -> dict[Identity, list[Header]]:
        found = defaultdict(list)
        for header in self._by_identity.values():
            for identity in {(artifact.key, artifact.digest) for artifact in header.inputs.values()}:
                found[identity].append(header)
        return found
