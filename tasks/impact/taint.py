"""How documents run through the store: which outputs hold them, which were trained on them, which inherit from those.

An output that says which documents it holds is believed: what its stage dropped does not run on through it. Any other
output (a model, a classifier) is trained on what its inputs hold, less the splits that its stage only measures itself
on. And whatever takes a tainted model (a policy, the rankings of its answers, a reward model learnt from them)
inherits, as does a corpus that a tainted classifier cleaned. But what was made again without a document to the same
bytes learned nothing from it, and hands nothing on.
"""

from collections import defaultdict, deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.impact.census import Said, StoreView, as_flags
from tasks.impact.learned import LEARNED_FROM, LEARNERS
from tasks.lineage.artifact import Artifact
from tasks.lineage.headers import Header

Flags = NDArray[np.bool_]

HOLDS, TRAINED, INHERITS, MEASURED, DROPPED = "holds", "trained", "inherits", "measured", "dropped"
RELATIONS = (HOLDS, TRAINED, INHERITS, MEASURED, DROPPED)  # the strongest first
TAINTED = (HOLDS, TRAINED, INHERITS)


@dataclass(frozen=True, eq=False)
class Node:
    """A record, and how documents reached its output. bits: by relation, a bit for each document that has it (none is
    left out). gone: the output is no longer in the store."""

    header: Header
    bits: Mapping[str, int]
    gone: bool

    @property
    def relation(self) -> str:
        """The strongest that any document has to it."""
        return next(name for name in RELATIONS if name in self.bits)

    @cached_property
    def taint(self) -> int:
        """The documents that are in it, or shaped it."""
        return self.bits.get(HOLDS, 0) | self.bits.get(TRAINED, 0) | self.bits.get(INHERITS, 0)

    @cached_property
    def learned(self) -> int:
        """The documents that whatever takes it inherits."""
        return self.bits.get(TRAINED, 0) | self.bits.get(INHERITS, 0)

    def counts(self) -> dict[str, int]:
        """Documents by relation, those that occur."""
        return {name: bits.bit_count() for name, bits in self.bits.items()}

    def trained_on(self, count: int) -> Flags:
        """(M,): the documents that its own training read."""
        return as_flags(self.bits.get(TRAINED, 0), count)


class Taint:
    """One walk of documents through the store, from the sources on. nodes: what any of them reached, none before what
    it was made from."""

    def __init__(
        self, view: StoreView, said: Mapping[str, Said],
        learned_from: Mapping[str, Mapping[str, Container[str]]] = LEARNED_FROM,
    ) -> None:  # fmt: skip
        self._view, self._said, self._learned_from = view, said, learned_from
        self._nodes: dict[tuple[str, str], Node] = {}
        self._held: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._without: dict[str, int] = defaultdict(int)  # by digest, the documents that it was also made without
        order = list(in_order_of_making(view))
        while True:
            self._nodes.clear()
            for header in order:
                bits = self._reached(header)
                if bits:
                    gone = header.digest not in view.present
                    self._nodes[header.key, header.digest] = Node(header, bits, gone)
            if not self._clear():
                return

    def _clear(self) -> bool:
        """Take down what outputs of several records learned in one and not in another; whether that says anything new,
        which others that took such an output may then be made without, too."""
        found = False
        for node in self.nodes:
            for made in self._view.graph.made_by(node.header.digest) if node.learned else ():
                if not made.inputs or self._view.graph.orphaned(made):
                    continue  # nobody knows what that was made from
                other = self.node(made.artifact)
                if without := node.learned & ~(other.learned if other else 0):
                    self._without[node.header.digest] |= without
                    found = True
        return found

    @property
    def nodes(self) -> list[Node]:
        return list(self._nodes.values())

    def node(self, artifact: Artifact) -> Node | None:
        return self._nodes.get((artifact.key, artifact.digest))

    def _reached(self, header: Header) -> dict[str, int]:
        said = self._said.get(header.digest)
        own = header.digest in self._view.texts
        bits = dict.fromkeys(RELATIONS, 0)
        if said is not None:
            bits[HOLDS], bits[DROPPED] = said.held(), said.dropped()
        for name, artifact in header.inputs.items():
            given = self.node(artifact)
            if given is not None:
                bits[INHERITS] |= given.learned
            if own:  # it says itself what it holds
                continue
            held, learned = self._given(artifact, given, header.stage, name)
            if header.digest not in self._view.present and header.kind not in LEARNERS:
                bits[HOLDS] |= held  # it can't say any more: as much as it was given
                continue
            bits[TRAINED] |= learned
            bits[MEASURED] |= held & ~learned
        for relation in (TRAINED, INHERITS):
            bits[relation] &= ~self._without[header.digest]
        bits[MEASURED] &= ~bits[TRAINED]
        return {name: found for name, found in bits.items() if found}

    def _given(self, artifact: Artifact, given: Node | None, stage: str, name: str) -> tuple[int, int]:
        """The documents that an input holds, and those of them that its taker learns from."""
        said = self._said.get(artifact.digest)
        if said is None:
            held = 0 if given is None else given.bits.get(HOLDS, 0)
            return held, held
        known = self._held.get((artifact.digest, stage, name))
        if known is None:
            splits = self._learned_from.get(stage, {}).get(name)
            learned = [
                label.held and (splits is None or label.split is None or label.split in splits)
                for label in said.labels
            ]  # fmt: skip
            known = self._held[artifact.digest, stage, name] = (said.held(), said.where(learned))
        return known

    def givers(self, node: Node, document: int) -> Iterator[tuple[str, Node]]:
        """(input's name, what made it) of the inputs through which the document taints the node, by name."""
        bit = 1 << document
        inherits = bool(node.bits.get(INHERITS, 0) & bit)
        holds = bool((node.bits.get(HOLDS, 0) | node.bits.get(TRAINED, 0)) & bit)
        for name, artifact in sorted(node.header.inputs.items()):
            given = self.node(artifact)
            if given is None:
                continue
            if (inherits and given.learned & bit) or (holds and given.bits.get(HOLDS, 0) & bit):
                yield name, given


class Paths:
    """The shortest ways of one document to every output that it taints."""

    def __init__(self, taint: Taint, document: int) -> None:
        self._taint, self._document = taint, document
        self._ways: dict[Node, tuple[Node, ...]] = {}
        bit = 1 << document
        for node in taint.nodes:
            if node.taint & bit:
                ways = [self._ways[given] for _, given in taint.givers(node, document)]
                self._ways[node] = (*min(ways, key=len, default=()), node)

    def to(self, node: Node) -> tuple[Node, ...]:
        """From the output that first held the document to `node`."""
        return self._ways[node]

    def by_input(self, node: Node) -> dict[str, tuple[Node, ...]]:
        """Input's name → the shortest path that comes through it."""
        return {name: (*self._ways[given], node) for name, given in self._taint.givers(node, self._document)}


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
