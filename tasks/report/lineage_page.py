"""`lineage.html`: what something was made from and into, as one page that needs no network.

The drawing is inline SVG and is complete without JavaScript; the script adds details, search and zoom. Everything
that comes from records (names, settings, addresses) is data of unknown origin: it is escaped in the drawing and set
with `textContent` by the script.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tasks.lineage.declaration import MADE_ELSEWHERE
from tasks.report.figures import headline
from tasks.report.groups import by_stage
from tasks.report.layers import Sizes, layout

SIZES = Sizes()
SHORT_DIGEST = 12
TEXT_WIDTH = 25  # characters that fit into a node
MOST_SINGLY = 60  # nodes; a larger graph is shown by stage first

# Kind of artifact → family, which gives the colour.
FAMILIES = {
    "snapshot": "data",
    "tokenizer": "data",
    "corpus": "data",
    "pairs": "data",
    "tokens": "data",
    "rankings": "judgement",
    "reward_model": "judgement",
    "model": "model",
    "evaluation": "evaluation",
}
FAMILY_NAMES = {
    "data": "data",
    "model": "language model",
    "judgement": "preferences",
    "evaluation": "evaluation",
    "other": "other",
}


def render(graph: Mapping[str, Any], target: str | None = None, title: str = "Lineage", more: str = "") -> str:
    """The page for {"nodes": [{"id", "stage", "kind", "digest", …}], "edges": [[from, to], …]}.

    target: id of the node the page is about. more: a line on what the graph leaves out. Optional fields of a node that
    are shown: key, config, metrics, inputs, documents, versions, made, seconds, git_commit, mlflow_url, prefect_url,
    and any other of text, number or mapping. Raises ValueError if the edges form a cycle.
    """
    nodes: list[Mapping[str, Any]] = list(graph["nodes"])
    edges = [(str(source), str(end)) for source, end in graph["edges"]]
    every = _drawing("every", nodes, edges, target)
    drawings = every
    if len(nodes) > MOST_SINGLY:
        drawings = _drawing("grouped", *by_stage(nodes, edges, target), target) + every
    page, script = (
        (Path(__file__).parent / f"lineage_page.{kind}").read_text(encoding="utf-8") for kind in ("html", "js")
    )
    parts = {
        "SCRIPT": script,
        "TITLE": escape(title),
        "SUMMARY": escape(" · ".join(line for line in (_summary(nodes, edges, target), more) if line)),
        "LEGEND": _legend(nodes),
        "DRAWINGS": drawings,
        "DATA": embedded({"nodes": [_details(node) for node in nodes], "edges": graph["edges"], "target": target}),
    }
    for name, text in parts.items():  # no part can hold a mark: what comes from records is escaped
        page = page.replace(f"<!--{name}-->", text)
    return page


def embedded(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def safe_url(url: Any) -> str:
    """The address if a click on it can do no more than open a page, else nothing."""
    text = str(url or "")
    return text if text.startswith(("http://", "https://")) else ""


def _summary(nodes: Sequence[Mapping[str, Any]], edges: Sequence[tuple[str, str]], target: str | None) -> str:
    subject = next((node for node in nodes if node["id"] == target), None)
    if subject is None or target is None:
        return f"{len(nodes)} pieces of work" if len(nodes) != 1 else "one piece of work"
    into = _reached(edges, target)
    declared = sum(bool(node.get("declared")) for node in nodes if node["id"] == target or node["id"] not in into)
    return (
        f"{subject['stage']} · {subject['kind']} {str(subject['digest'])[:SHORT_DIGEST]} · "
        f"{len(nodes) - len(into)} pieces of work before it, {len(into) - 1} after it"
    ) + (f" · {declared} {MADE_ELSEWHERE}" if declared else "")


def _reached(edges: Sequence[tuple[str, str]], start: str) -> set[str]:
    """What can be reached along the edges, `start` included."""
    children: dict[str, list[str]] = {}
    for source, end in edges:
        children.setdefault(source, []).append(end)
    found, waiting = {start}, [start]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _legend(nodes: Sequence[Mapping[str, Any]]) -> str:
    present = {family(node) for node in nodes}
    return "".join(
        f'<span class="key {name}"><i></i>{escape(label)}</span>'
        for name, label in FAMILY_NAMES.items()
        if name in present
    )


def family(node: Mapping[str, Any]) -> str:
    """Which colour a node has."""
    return FAMILIES.get(str(node.get("kind")), "other")


def _drawing(
    name: str, nodes: Sequence[Mapping[str, Any]], links: Sequence[tuple[str, str]], target: str | None
) -> str:
    """One drawing of the graph; the page shows the first there is."""
    plan = layout([str(node["id"]) for node in nodes], links, SIZES)
    direct = _without_shortcuts([(source, end) for source, end, _ in plan.edges])
    edges = "".join(
        f'<path class="edge{"" if (source, end) in direct else " shortcut"}" data-from="{escape(source)}" '
        f'data-to="{escape(end)}" d="{_curve(points)}"/>'
        for source, end, points in plan.edges
    )
    cards = "".join(_card(node, plan.nodes[str(node["id"])], str(node["id"]) == target) for node in nodes)
    return (
        f'<svg id="{name}" class="drawing" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {plan.width:.0f} {plan.height:.0f}" '
        f'width="{plan.width:.0f}" height="{plan.height:.0f}" role="img" aria-label="Lineage graph">'
        f'<defs><marker id="tip-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0.8 L7.4 4 L0 7.2 Z" fill="context-stroke"/></marker></defs>'
        f'<g class="edges" marker-end="url(#tip-{name})">{edges}</g><g>{cards}</g></svg>'
    )


def _without_shortcuts(edges: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges that no longer way stands for (the transitive reduction); the others are drawn fainter."""
    children: dict[str, set[str]] = {}
    for source, end in edges:
        children.setdefault(source, set()).add(end)
    below: dict[str, set[str]] = {}

    def reach(start: str) -> set[str]:
        waiting = [start]
        while waiting:
            node = waiting[-1]
            missing = [child for child in children.get(node, ()) if child not in below]
            if missing:
                waiting += missing
            else:
                below[node] = set().union(*({child} | below[child] for child in children.get(node, ())))
                waiting.pop()
        return below[start]

    return {
        (source, end)
        for source, end in edges
        if not any(end in reach(child) for child in children[source] if child != end)
    }


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A smooth path: curved between columns, straight where it passes by a column."""
    x, y = points[0]
    path = [f"M{x:.1f} {y:.1f}"]
    for index, (next_x, next_y) in enumerate(points[1:]):
        if index % 2 == 0:
            half = (x + next_x) / 2
            path.append(f"C{half:.1f} {y:.1f} {half:.1f} {next_y:.1f} {next_x:.1f} {next_y:.1f}")
        else:
            path.append(f"L{next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return "".join(path)


def _card(node: Mapping[str, Any], place: tuple[float, float], is_target: bool) -> str:
    x, y = place
    members = len(node.get("members", ()))
    lines = [f"{members} runs"] if members else headline(str(node["stage"]), node.get("metrics") or {})
    if node.get("declared"):
        lines = [MADE_ELSEWHERE, *lines][:2]
    url = safe_url(node.get("mlflow_url")) or safe_url(node.get("prefect_url"))
    figures = "".join(
        f'<text class="figure" x="14" y="{57 + 16 * row}">{escape(_fit(line))}</text>' for row, line in enumerate(lines)
    )
    size = f'width="{SIZES.node_width:.0f}" height="{SIZES.node_height:.0f}" rx="7"'
    behind = f'<rect class="card" x="7" y="-6" {size}/><rect class="card" x="3.5" y="-3" {size}/>' if members else ""
    body = (
        f'{behind}<rect class="card" {size}/>'
        f'<rect class="bar" width="5" height="{SIZES.node_height - 14:.0f}" y="7" rx="2.5"/>'
        f'<text class="stage" x="14" y="22">{escape(_fit(str(node["stage"]), 18))}</text>'
        f'<text class="kind" x="{SIZES.node_width - 10:.0f}" y="22">{escape(_fit(str(node["kind"]), 13))}</text>'
        f'<text class="digest" x="14" y="40">{escape(str(node["digest"])[:SHORT_DIGEST])}</text>{figures}'
    )
    link = f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">{body}</a>' if url else body
    classes = f"node {family(node)}{' target' if is_target else ''}{' group' if members else ''}"
    listed = f' data-members="{escape(json.dumps(node["members"]))}"' if members else ""
    return (
        f'<g class="{classes}" data-id="{escape(str(node["id"]))}"{listed} tabindex="0" '
        f'transform="translate({x:.1f} {y:.1f})">{link}</g>'
    )


def _fit(text: str, width: int = TEXT_WIDTH) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _details(node: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in node.items() if value not in (None, "", {}, [])}
    for name in ("mlflow_url", "prefect_url"):
        if not safe_url(shown.get(name)):
            shown.pop(name, None)
    return shown
