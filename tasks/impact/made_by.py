"""Which stored outputs a piece of code made: by the definitions that each record says its stage could reach."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.impact.census import StoreView
from tasks.lineage.errors import NotFound
from tasks.lineage.headers import Header

Identity = tuple[str, str]  # key and digest of a record's output
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Code:
    """made: identity → the definitions, with their digests, that made it. before: of all that was made from those in
    turn, what it came from, None for what the code itself made."""

    made: dict[Identity, dict[str, str]]
    before: dict[Identity, Header | None]

    def path(self, header: Header) -> list[Header]:
        """From what the code made to what came of it."""
        path = deque([header])
        while (before := self.before[identity(path[0])]) is not None:
            path.appendleft(before)
        return list(path)


def identity(header: Header) -> Identity:
    return header.key, header.digest


def made_by(view: StoreView, modules: Iterable[str]) -> Code:
    """Outputs that any of the modules or definitions made, in any version, and all that was made from them.

    A module is a path (tasks/text/rules.py, or a folder) or a name (tasks.text.rules), with `:definition` if only that
    is meant. Raises NotFound for one that no record names.
    """
    wanted = {module: _parse(module) for module in modules}
    made: dict[Identity, dict[str, str]] = {}
    known: set[str] = set()
    for header in view.graph.headers:
        record = view.store.maker(header.artifact)
        for name, digest in record.code.items() if record is not None else ():
            for module in _matching(name, wanted):
                known.add(module)
                made.setdefault(identity(header), {})[name] = digest
    unknown = sorted(wanted.keys() - known)
    if unknown:
        raise NotFound(
            f"no stored output was made by code of {unknown[0]!r}. Give a path such as tasks/text/rules.py, or "
            "tasks/text/rules.py:DEFINITION; the code of the engine (tasks/lineage) makes no output."
        )
    before: dict[Identity, Header | None] = dict.fromkeys(made)
    waiting = deque(header for header in view.graph.headers if identity(header) in made)
    while waiting:
        header = waiting.popleft()
        for child in view.graph.children(header):
            if identity(child) not in before:
                before[identity(child)] = header
                waiting.append(child)
    return Code(made, before)


def _parse(module: str) -> tuple[str, str]:
    """(dotted name of a module or package, definition or "")."""
    place, _, definition = module.partition(":")
    path = Path(place)
    if path.is_absolute() and path.is_relative_to(ROOT):
        path = path.relative_to(ROOT)
    if "/" in place or place.endswith(".py"):
        return ".".join(PurePosixPath(path.as_posix()).with_suffix("").parts), definition
    return place, definition


def _matching(name: str, wanted: dict[str, tuple[str, str]]) -> Iterator[str]:
    module, _, definition = name.partition(":")
    for asked, (place, part) in wanted.items():
        inside = module == place or (not part and module.startswith(f"{place}."))
        if inside and (not part or definition == part):
            yield asked
