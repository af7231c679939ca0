"""What a dotted name in a module stands for: a definition of this repository, a whole module, or another library."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from tasks.lineage.codebase import Codebase, Module
from tasks.lineage.outline import Import


class Node(NamedTuple):
    """Something of this repository that can be reached.

    definition: a function, class or constant. behaviour: a class whose fields' values are in the key already.
    effects: what importing the module does. whole: all of it. files: what lies beside it. everything: all modules.
    """

    kind: Literal["definition", "behaviour", "effects", "whole", "files", "everything"]
    module: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.module}:{self.name or f'<{self.kind}>'}"


Target: TypeAlias = Node | str
"""A node of this repository, or the dotted name of something outside it (another library, the engine)."""

_Seen: TypeAlias = frozenset[tuple[str, tuple[str, ...]]]


def resolve(
    code: Codebase, module: Module, chain: tuple[str, ...], local: Mapping[str, Sequence[Import]] | None = None
) -> Iterator[Target]:
    """Everything `chain` may stand for in `module`; nothing for builtins. `local`: imports of an enclosing function."""
    root, rest = chain[0], chain[1:]
    imports = (local or {}).get(root)
    if imports is None:
        if module.binds(root):
            yield Node("definition", module.name, root)
        imports = module.imports.get(root, [])
    for target in imports:
        yield from follow(code, target, rest)


def follow(code: Codebase, target: Import, rest: tuple[str, ...] = (), seen: _Seen = frozenset()) -> Iterator[Target]:
    """What an imported name, with attributes `rest` taken from it, stands for."""
    rest = rest if target.attribute is None else (target.attribute, *rest)
    yield from _within(code, target.module, rest, seen)


def _within(code: Codebase, name: str, rest: tuple[str, ...], seen: _Seen) -> Iterator[Target]:
    """What `name.rest` stands for, where `name` is a module, or leads to one."""
    full = ".".join((name, *rest))
    if (name, rest) in seen:  # two modules that import the name from each other
        return
    seen |= {(name, rest)}
    if code.is_engine(name):
        yield full
        return
    lengths = [length for length in range(len(rest), 0, -1) if code.has(".".join((name, *rest[:length])))]
    if lengths:
        yield from _within(code, ".".join((name, *rest[: lengths[0]])), rest[lengths[0] :], seen)
    if not code.has(name):
        if not lengths:
            yield full
        return
    module = code.module(name)
    known = bool(rest) and (module.binds(rest[0]) or rest[0] in module.imports)
    if known:
        if module.binds(rest[0]):
            yield Node("definition", name, rest[0])
        for target in module.imports.get(rest[0], []):
            yield from follow(code, target, rest[1:], seen)
    elif not lengths:
        yield Node("whole", name)  # the module itself is passed around, or makes its attributes dynamically
