"""A lineage as a tree for a terminal: what something was made from, or into, with figures, settings, code, versions."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from tasks.report.figures import headline

MOST_DETAILED = 40  # nodes; a larger graph is shown without settings, code and versions
MOST_SHOWN = 200  # nodes
SHORT = 12
SETTING_LENGTH = 40

Node = Mapping[str, Any]


def trees(graph: Mapping[str, Any], relation: str) -> list[Tree]:
    """One tree for each target of `questions.lineage`, towards its ancestors or descendants (`relation`).

    What has been shown in full stands as one line where it comes again.
    """
    nodes = {node["id"]: node for node in graph["nodes"]}
    side = {name for name, node in nodes.items() if node["relation"] in (relation, "target")}
    towards: dict[str, list[str]] = defaultdict(list)
    for source, end in graph["edges"]:
        here, there = (end, source) if relation == "ancestor" else (source, end)
        if here in side and (there in side or there not in nodes):
            towards[here].append(there)
    drawing = _Drawing(nodes, towards, detailed=len(side) <= MOST_DETAILED)
    return [drawing.tree(name) for name, node in nodes.items() if node["relation"] == "target"]


def summary(nodes: Sequence[Node], relation: str) -> str:
    """`12 pieces of work: 1 clean, 1 collect, …`."""
    counts = Counter(node["stage"] for node in nodes if node["relation"] == relation)
    listed = ", ".join(f"{count:,} {stage}" for stage, count in counts.items())
    return f"{counts.total():,} piece{'' if counts.total() == 1 else 's'} of work{': ' if listed else ''}{listed}"


class _Drawing:
    def __init__(self, nodes: Mapping[str, Node], towards: Mapping[str, list[str]], detailed: bool) -> None:
        self._nodes, self._towards, self._detailed = nodes, towards, detailed
        self._shown: set[str] = set()

    def tree(self, root: str) -> Tree:
        """Iterative: a chain of records may be longer than Python's stack."""
        drawn = Tree(self._label(root), guide_style="dim")
        self._shown.add(root)
        waiting = [(drawn, name) for name in reversed(self._next(root))]
        while waiting:
            parent, name = waiting.pop()
            if name not in self._nodes:
                parent.add(f"[dim]{name[:SHORT]}: its record is gone[/]")
            elif name in self._shown:
                parent.add(f"{_name(self._nodes[name])} [dim](see above)[/]")
            elif len(self._shown) == MOST_SHOWN:
                parent.add("[dim]… more; --json has them all[/]")
            else:
                self._shown.add(name)
                branch = parent.add(self._label(name))
                waiting += [(branch, further) for further in reversed(self._next(name))]
        return drawn

    def _next(self, name: str) -> list[str]:
        return sorted(self._towards.get(name, ()), key=self._order)

    def _order(self, name: str) -> tuple[str, str]:
        return (str(self._nodes[name]["created"]) if name in self._nodes else "", name)

    def _label(self, name: str) -> str:
        node = self._nodes[name]
        lines = [f"{_name(node)}  {escape(', '.join(_counts(node)))}"]
        if self._detailed:
            lines += [f"[dim]{escape(line)}[/]" for line in _details(node)]
        return "\n".join(lines)


def _name(node: Node) -> str:
    return f"[bold]{escape(node['stage'])}[/] {escape(node['kind'])} [cyan]{node['digest'][:SHORT]}[/]"


def _counts(node: Node) -> list[str]:
    kept = node["documents"] and node["documents"].get("documents_kept")
    documents = [f"{kept:,} documents"] if kept is not None else []
    figures = headline(node["stage"], {k: v for k, v in node["metrics"].items() if k != "documents_kept"})
    return [*documents, *figures, f"{str(node['created'])[:16].replace('T', ' ')} UTC"]


def _details(node: Node) -> list[str]:
    modules = {name.partition(":")[0] for name in node["code"]}
    code = f"code {node['code_digest'][:SHORT]}: {len(node['code'])} definitions in {len(modules)} modules"
    versions = ", ".join(f"{library} {version}" for library, version in node["versions"].items())
    commit = f", commit {node['git_commit'][:SHORT]}" if node["git_commit"] else ""
    changed = " with changes" if str(node["git_commit"]).endswith("+changes") else ""
    settings = ", ".join(f"{name} {_brief(value)}" for name, value in node["config"].items())
    return [line for line in (settings, code + commit + changed, versions) if line]


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SETTING_LENGTH else text[: SETTING_LENGTH - 1] + "…"
