"""How documents run through the store: which outputs hold them, which were trained on them, which inherit from those.

An output that says which documents it holds is believed: what its stage dropped does not run on through it. Any other
output (a model) is trained on what its inputs hold, less the splits that its stage only measures itself on. And
whatever takes a tainted model (a policy, the rankings of its answers, a reward model learnt from them) inherits.
"""

from collections import deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.impact.census import Said, StoreView
from tasks.lineage.artifact import Artifact
from tasks.lineage.headers import Header

Flags = NDArray[np.bool_]

LEARNED_FROM: Mapping[str, Container[str]] = {
    "pretrain": frozenset({"train"}),
    "finetune": frozenset({"finetune"}),
    "rank": frozenset({"rank"}),
    "reward": frozenset({"train"}),
    "ppo": frozenset({"ppo"}),
}
"""Stage → the splits of its input's documents that shape what it makes; it only measures itself on the others."""

HOLDS, TRAINED, INHERITS, MEASURED, DROPPED = "holds", "trained", "inherits", "measured", "dropped"
RELATIONS = (HOLDS, TRAINED, INHERITS, MEASURED, DROPPED)  # the strongest first
TAINTED = (HOLDS, TRAINED, INHERITS)


@dataclass(frozen=True)
class Node:
    """A record, and how the documents (M,) reached its output. gone: the output is no longer in the store."""

    header: Header
    flags: Mapping[str, Flags]  # by relation
    gone: bool

    @property
    def relation(self) -> str | None:
        """The strongest that any document has to it."""
        return next((name for name in RELATIONS if self.flags[name].any()), None)

    @property
    def tainted(self) -> bool:
        return any(self.flags[name].any() for name in TAINTED)

    def counts(self) -> dict[str, int]:
        """Documents by relation, those that occur."""
        return {name: int(flags.sum()) for name, flags in self.flags.items() if flags.any()}

    def taints(self, document: int) -> bool:
        return any(bool(self.flags[name][document]) for name in TAINTED)


class Taint:
    """One walk of documents through the store, from the sources on."""

    def __init__(
        self, view: StoreView, said: Mapping[str, Said], count: int,
        learned_from: Mapping[str, Container[str]] = LEARNED_FROM,
    ) -> None:  # fmt: skip
        self._view, self._said, self._learned_from = view, said, learned_from
        self._none = np.zeros(count, bool)
        self._nodes: dict[tuple[str, str], Node] = {}
        for header in in_order_of_making(view):
            self._nodes[header.key, header.digest] = self._node(header)

    @property
    def nodes(self) -> list[Node]:
        """Those that any document reached, in an order in which nothing comes before what it was made from."""
        return [node for node in self._nodes.values() if node.relation is not None]

    def node(self, artifact: Artifact) -> Node | None:
        return self._nodes.get((artifact.key, artifact.digest))

    def _node(self, header: Header) -> Node:
        said = self._said.get(header.digest)
        gone = header.digest not in self._view.present
        own = header.digest in self._view.saying
        flags = dict.fromkeys(RELATIONS, self._none)
        if said is not None:
            flags[HOLDS], flags[DROPPED] = said.held(), said.dropped()
        splits = self._learned_from.get(header.stage)
        for artifact in header.inputs.values():
            given = self.node(artifact)
            if given is not None:
                flags[INHERITS] = _union(flags[INHERITS], given.flags[TRAINED], given.flags[INHERITS])
            if own:
                continue
            held, learned = self._held(artifact, splits)
            if gone and not header.kind.endswith("model"):  # what it held is unknown: as much as it was given
                flags[HOLDS] = _union(flags[HOLDS], held)
                continue
            flags[TRAINED] = _union(flags[TRAINED], learned)
            flags[MEASURED] = _union(flags[MEASURED], held & ~learned)
        flags[MEASURED] = flags[MEASURED] & ~flags[TRAINED] if flags[MEASURED].any() else self._none
        return Node(header, flags, gone)

    def _held(self, artifact: Artifact, splits: Container[str] | None) -> tuple[Flags, Flags]:
        """The documents that an input holds, and those of them that its taker learns from."""
        said = self._said.get(artifact.digest)
        if said is None:
            node = self.node(artifact)
            held = self._none if node is None else node.flags[HOLDS]
            return held, held
        if splits is None:
            return said.held(), said.held()
        learned = said.where(label.held and (label.split is None or label.split in splits) for label in said.labels)
        return said.held(), learned

    def givers(self, node: Node, document: int) -> Iterator[tuple[str, Node]]:
        """(input's name, what made it) of the inputs through which the document taints the node, by name."""
        for name, artifact in sorted(node.header.inputs.items()):
            given = self.node(artifact)
            if given is not None and given.taints(document) and self._passes(given, node, document):
                yield name, given

    def _passes(self, given: Node, node: Node, document: int) -> bool:
        if node.flags[INHERITS][document] and (given.flags[TRAINED][document] or given.flags[INHERITS][document]):
            return True
        by_holding = bool(node.flags[HOLDS][document] or node.flags[TRAINED][document])
        return by_holding and bool(given.flags[HOLDS][document])


class Paths:
    """The shortest ways of one document to every output that it taints."""

    def __init__(self, taint: Taint, document: int) -> None:
        self._taint, self._document = taint, document
        self._length: dict[int, int] = {}
        self._before: dict[int, Node | None] = {}
        for node in taint.nodes:
            if not node.taints(document):
                continue
            givers = [given for _, given in taint.givers(node, document)]
            nearest = min(givers, key=lambda given: self._length[id(given)], default=None)
            self._before[id(node)] = nearest
            self._length[id(node)] = 1 if nearest is None else self._length[id(nearest)] + 1

    def to(self, node: Node) -> list[Node]:
        """From the output that first held the document to `node`."""
        path: deque[Node] = deque([node])
        while (before := self._before[id(path[0])]) is not None:
            path.appendleft(before)
        return list(path)

    def by_input(self, node: Node) -> dict[str, list[Node]]:
        """Input's name → the shortest path that comes through it."""
        return {name: [*self.to(given), node] for name, given in self._taint.givers(node, self._document)}


def _union(*flags: Flags) -> Flags:
    """Their union; the first of them itself where the others add nothing, since most outputs share theirs."""
    first, *rest = flags
    for other in rest:
        if other is not first and (other & ~first).any():
            first = other if not first.any() else first | other
    return first


def in_order_of_making(view: StoreView) -> Iterator[Header]:
    """Every record once, after those of its inputs."""
    headers = [header for header in view.graph.headers if view.graph.maker(header.artifact) is header]
    waiting = {id(header): len(view.graph.parents(header)) for header in headers}
    ready = deque(header for header in headers if not waiting[id(header)])
    while ready:
        header = ready.popleft()
        yield header
        for child in view.graph.children(header):
            waiting[id(child)] -= 1
            if not waiting[id(child)]:
                ready.append(child)
