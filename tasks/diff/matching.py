"""Which work behind one thing answers to which work behind another."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tasks.lineage.ancestry import Ancestry, ancestors_of_all, id_in, in_order
from tasks.lineage.record import Record
from tasks.lineage.store import Store


class Match(NamedTuple):
    """The work of one stage on both sides; None where one side has none."""

    stage: str
    a: Record | None
    b: Record | None

    @property
    def same(self) -> bool:
        """Whether both are the very same piece of work."""
        return self.a is not None and self.b is not None and self.a.artifact == self.b.artifact


def matched(store: Store, a: Iterable[Record], b: Iterable[Record]) -> list[Match]:
    """All work behind `a` and behind `b`, and they, stage by stage, each after what it was made from.

    What is the same on both sides goes together; then what was made from it by the same stage and input; and what is
    left over by its stage, in order.
    """
    a, b = list(a), list(b)
    one, other = ancestors_of_all(store, a), ancestors_of_all(store, b)
    pairs = _by_inputs(one, other, a, b)
    _leftovers(one, other, pairs)
    taken = set(pairs.values())
    found: list[tuple[str | None, str | None]] = [(name, pairs.get(name)) for name in one["nodes"]]
    found += [(None, name) for name in other["nodes"] if name not in taken]
    depths = _depths(one), _depths(other)

    def place(pair: tuple[str | None, str | None]) -> tuple[int, str, str, str]:
        sides = [(side, name, depth) for side, name, depth in zip((one, other), pair, depths, strict=True) if name]
        record = sides[-1][0]["nodes"][sides[-1][1] or ""]
        return max(depth[name or ""] for _, name, depth in sides), record.created, record.stage, record.key

    matches = []
    for name, its in sorted(found, key=place):
        old, new = one["nodes"].get(name or ""), other["nodes"].get(its or "")
        record = new or old
        assert record is not None
        matches.append(Match(record.stage, old, new))
    return matches


def _by_inputs(one: Ancestry, other: Ancestry, a: list[Record], b: list[Record]) -> dict[str, str]:
    """Ids of `one` → ids of `other`: what is the same, and back from the targets what stands in the same place."""
    pairs = {
        name: name
        for name, record in one["nodes"].items()
        if name in other["nodes"] and other["nodes"][name].output.digest == record.output.digest
    }
    taken = set(pairs.values())
    by_stage = {record.stage: record for record in reversed(b)}
    waiting = deque((record, by_stage[record.stage]) for record in a if record.stage in by_stage)
    while waiting:
        old, new = waiting.popleft()
        names = id_in(one, old.artifact), id_in(other, new.artifact)
        if None in names or names[0] in pairs or names[1] in taken:
            continue
        pairs[names[0] or ""] = names[1] or ""
        taken.add(names[1] or "")
        for given in old.inputs.keys() & new.inputs.keys():
            makers = id_in(one, old.inputs[given]), id_in(other, new.inputs[given])
            if makers[0] and makers[1] and one["nodes"][makers[0]].stage == other["nodes"][makers[1]].stage:
                waiting.append((one["nodes"][makers[0]], other["nodes"][makers[1]]))
    return pairs


def _leftovers(one: Ancestry, other: Ancestry, pairs: dict[str, str]) -> None:
    """Add what neither content nor place brought together: by stage, the first with the first."""
    taken = set(pairs.values())
    free: dict[str, deque[str]] = {}
    for name in in_order(other):
        if name not in taken:
            free.setdefault(other["nodes"][name].stage, deque()).append(name)
    for name in in_order(one):
        waiting = free.get(one["nodes"][name].stage)
        if name not in pairs and waiting:
            pairs[name] = waiting.popleft()


def _depths(found: Ancestry) -> dict[str, int]:
    """How many stages lie between each node and the farthest of its sources."""
    depths: dict[str, int] = {}
    for name in in_order(found):
        makers = [id_in(found, artifact) for artifact in found["nodes"][name].inputs.values()]
        depths[name] = 1 + max((depths[maker] for maker in makers if maker), default=-1)
    return depths
