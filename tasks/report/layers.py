"""Places the nodes of a directed acyclic graph in layers from left to right (Sugiyama, Tagawa and Toda 1981).

An edge that spans several layers passes through a bend in each, so that it runs between the nodes and not under them.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SWEEPS = 8  # passes over the layers that pull neighbours together; more change nothing at 500 nodes


@dataclass(frozen=True)
class Layout:
    """Positions in pixels: of nodes their top left corner, of edges the points that they pass."""

    nodes: dict[str, tuple[float, float]]
    edges: list[tuple[str, str, list[tuple[float, float]]]]
    width: float
    height: float


@dataclass(frozen=True)
class Sizes:
    """Pixels."""

    node_width: float = 184
    node_height: float = 86
    gap_x: float = 52
    gap_y: float = 24
    bend_height: float = 12
    margin: float = 24


def layout(nodes: Iterable[str], edges: Iterable[tuple[str, str]], sizes: Sizes = Sizes()) -> Layout:
    """The same graph gives the same layout. Raises ValueError if the edges form a cycle or name no node."""
    names = sorted(set(nodes))
    links = sorted(set(edges))
    unknown = {end for link in links for end in link} - set(names)
    if unknown:
        raise ValueError(f"edges name nodes that are not given: {sorted(unknown)[:3]}")
    rank = ranks(names, links)
    chains = [_chain(link, rank) for link in links]
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for name in names:
        layers[rank[name]].append(name)
    for (source, _), chain in zip(links, chains, strict=True):
        for offset, bend in enumerate(chain[1:-1], start=1):
            layers[rank[source] + offset].append(bend)
    steps = [pair for chain in chains for pair in itertools.pairwise(chain)]
    _untangle(layers, steps)
    real = set(names)
    height_of = {name: sizes.node_height if name in real else sizes.bend_height for layer in layers for name in layer}
    tops = _tops(layers, steps, height_of, sizes)
    lefts = {
        name: sizes.margin + column * (sizes.node_width + sizes.gap_x)
        for column, layer in enumerate(layers)
        for name in layer
    }
    routed = [
        (source, target, _points(chain, tops, lefts, height_of, sizes))
        for (source, target), chain in zip(links, chains, strict=True)
    ]
    width = 2 * sizes.margin + len(layers) * sizes.node_width + max(len(layers) - 1, 0) * sizes.gap_x
    height = max((tops[name] + height_of[name] for name in tops), default=0.0) + sizes.margin
    return Layout({name: (lefts[name], tops[name]) for name in names}, routed, width, height)


def ranks(names: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Layer of each node: the longest way to it; sources then move right, next to what first uses them."""
    children: dict[str, list[str]] = {name: [] for name in names}
    waiting = dict.fromkeys(names, 0)
    for source, target in links:
        children[source].append(target)
        waiting[target] += 1
    rank = dict.fromkeys(names, 0)
    ready = [name for name in names if waiting[name] == 0]
    has_parents = {target for _, target in links}
    done = 0
    while ready:
        name = ready.pop()
        done += 1
        for child in children[name]:
            rank[child] = max(rank[child], rank[name] + 1)
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if done < len(names):
        raise ValueError("the graph has a cycle, so it cannot be drawn as a lineage")
    for name in names:
        if name not in has_parents and children[name]:
            rank[name] = min(rank[child] for child in children[name]) - 1
    return rank


def _chain(link: tuple[str, str], rank: dict[str, int]) -> list[str]:
    source, target = link
    bends = [f"\0{source}\0{target}\0{level}" for level in range(rank[source] + 1, rank[target])]
    return [source, *bends, target]


def _untangle(layers: list[list[str]], steps: Sequence[tuple[str, str]]) -> None:
    """Reorders each layer by the mean place of its neighbours, sweeping right and left in turn."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for left, right in steps:
        after.setdefault(left, []).append(right)
        before.setdefault(right, []).append(left)
    for sweep in range(SWEEPS):
        rightwards = sweep % 2 == 0
        neighbours = before if rightwards else after
        order = range(1, len(layers)) if rightwards else range(len(layers) - 2, -1, -1)
        for index in order:
            fixed = layers[index - 1 if rightwards else index + 1]
            place = {name: (position + 0.5) / len(fixed) for position, name in enumerate(fixed)}
            own = {name: (position + 0.5) / len(layers[index]) for position, name in enumerate(layers[index])}
            centre = {
                name: _mean([place[other] for other in neighbours.get(name, [])], own[name]) for name in layers[index]
            }
            layers[index].sort(key=lambda name: (centre[name], own[name]))


def _tops(
    layers: list[list[str]], steps: Sequence[tuple[str, str]], height_of: dict[str, float], sizes: Sizes
) -> dict[str, float]:
    """Top of each node and bend: near its neighbours' middle, in the order of its layer, without overlap."""
    neighbours: dict[str, list[str]] = {}
    for left, right in steps:
        neighbours.setdefault(left, []).append(right)
        neighbours.setdefault(right, []).append(left)
    tops: dict[str, float] = {}
    for layer in layers:
        y = 0.0
        for name in layer:
            tops[name] = y
            y += height_of[name] + sizes.gap_y
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [
                _mean([tops[other] + height_of[other] / 2 for other in neighbours.get(name, [])], tops[name])
                - height_of[name] / 2
                for name in layer
            ]
            for name, top in zip(layer, _spread(layer, wanted, height_of, sizes.gap_y), strict=True):
                tops[name] = top
    lowest = min(tops.values(), default=0.0)
    return {name: top - lowest + sizes.margin for name, top in tops.items()}


def _spread(layer: list[str], wanted: list[float], height_of: dict[str, float], gap: float) -> list[float]:
    """The places nearest to the wanted ones (least squares) that keep order and gaps: pool adjacent violators."""
    blocks: list[list[float]] = []  # [sum of wanted minus offset, count, mean]
    offsets, offset = [], 0.0
    for name in layer:
        offsets.append(offset)
        offset += height_of[name] + gap
    for want, shift in zip(wanted, offsets, strict=True):
        blocks.append([want - shift, 1, want - shift])
        while len(blocks) > 1 and blocks[-2][2] > blocks[-1][2]:
            total, number, _ = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
            blocks[-1][2] = blocks[-1][0] / blocks[-1][1]
    bases = [block[2] for block in blocks for _ in range(int(block[1]))]
    return [base + shift for base, shift in zip(bases, offsets, strict=True)]


def _points(
    chain: list[str], tops: dict[str, float], lefts: dict[str, float], height_of: dict[str, float], sizes: Sizes
) -> list[tuple[float, float]]:
    """From the right side of the source, along both sides of every bend's column, to the left side of the target."""
    middle = {name: tops[name] + height_of[name] / 2 for name in chain}
    points = [(lefts[chain[0]] + sizes.node_width, middle[chain[0]])]
    for bend in chain[1:-1]:
        points += [(lefts[bend], middle[bend]), (lefts[bend] + sizes.node_width, middle[bend])]
    return [*points, (lefts[chain[-1]], middle[chain[-1]])]


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
