"""A large graph made small: runs of the same stage, at the same distance, as one box."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.layers import ranks

MOST_SINGLE = 40  # ancestors of the subject that keep a box each

Node = Mapping[str, Any]


def by_stage(
    nodes: Sequence[Node], edges: Sequence[tuple[str, str]], target: str | None
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The nodes with groups in the place of their members, and the edges between them.

    A group has "members", their ids from the newest to the oldest. The target keeps its own box, and so does what it
    was made from, unless that is much. Members of one group stand in the same layer, so that no cycle arises.
    """
    rank = ranks([str(node["id"]) for node in nodes], sorted(set(edges)))
    single = _single(edges, target)
    gathered: dict[tuple[str, str, int], list[Node]] = defaultdict(list)
    place: dict[str, str] = {}
    small: list[dict[str, Any]] = []
    for node in nodes:
        if str(node["id"]) in single:
            place[str(node["id"])] = str(node["id"])
            small.append(dict(node))
        else:
            gathered[str(node["stage"]), str(node["kind"]), rank[str(node["id"])]].append(node)
    for (stage, kind, layer), members in gathered.items():
        if len(members) == 1:
            place[str(members[0]["id"])] = str(members[0]["id"])
            small.append(dict(members[0]))
            continue
        name = f"group {layer} {stage} {kind}"
        ordered = sorted(members, key=lambda node: str(node.get("made", "")), reverse=True)
        place |= {str(node["id"]): name for node in members}
        small.append(
            {"id": name, "stage": stage, "kind": kind, "digest": "", "members": [str(node["id"]) for node in ordered]}
        )
    return small, sorted({(place[source], place[end]) for source, end in edges})


def _single(edges: Sequence[tuple[str, str]], target: str | None) -> set[str]:
    if target is None:
        return set()
    parents: dict[str, list[str]] = defaultdict(list)
    for source, end in edges:
        parents[end].append(source)
    found, waiting = {target}, [target]
    while waiting:
        for parent in parents[waiting.pop()]:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found if len(found) <= MOST_SINGLE + 1 else {target}
