"""The digest of the code that a stage can reach, by definition.

Starting from the stage function, every name it reads is resolved to the function, class or constant that binds it, in
this repository, and so on from there. Sound first: where a name cannot be resolved statically, the whole module
counts; a dynamic import without a literal name makes everything count. Then fine: a definition that nothing reached
uses does not count, nor do comments, layout, docstrings and annotations.

What counts beside definitions:
* what importing a reached module, or one that it imports, does besides binding names; with registrations, i.e.
  definitions under a decorator of this repository, or of classes whose base defines `__init_subclass__`;
* the files beside a module whose reached code reads `__file__` or importlib.resources.

What does not: the engine (CONTRACT_VERSION stands for it), other libraries (their versions are in the key), fields of
the stage's own settings (their values are in the key), docstrings read as data, and code named only in a string that
is run as a command.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from tasks.lineage import canonical
from tasks.lineage.codebase import Codebase, Module, codebase
from tasks.lineage.errors import ConfigError
from tasks.lineage.outline import Import, Mention, Piece
from tasks.lineage.resolve import Node, follow, resolve
from tasks.lineage.tree import hash_file

_READS_OWN_MODULE = frozenset({"exec", "eval", "globals", "vars"})
_IMPORTERS = frozenset({"importlib.import_module", "importlib.__import__", "__import__"})
_READS_ANYTHING = ("sys.modules", "runpy")
_READS_FILES = ("importlib.resources", "pkgutil", "__file__")


@dataclass(frozen=True)
class Fingerprint:
    """`definitions`: "module:definition" → digest of its normalised source. `digest`: over all of them.

    sources: digest → that normalised source, after a line "# name = what it stands for" for each imported name.
    """

    definitions: dict[str, str]
    sources: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def digest(self) -> str:
        return canonical.digest(self.definitions)


def fingerprint(function: Callable[..., Any], config: type | None = None) -> Fingerprint:
    """The code that `function` can reach. `config`: the class of its settings, of which only the behaviour counts."""
    code, nodes = beginnings(function, config)
    sources = reach(code, nodes)
    definitions = {name: digest_of(source) for name, source in sources.items()}
    return Fingerprint(definitions, {definitions[name]: source for name, source in sources.items()})


def beginnings(function: Callable[..., Any], config: type | None) -> tuple[Codebase, list[Node]]:
    """The repository of a function, and what is reached first: the function, and the behaviour of its settings."""
    code, start = locate(function)
    nodes = [start]
    if config is not None:
        config_code, settings = locate(config)
        if config_code is code:
            nodes.append(settings._replace(kind="behaviour"))
    return code, nodes


def digest_of(source: str) -> str:
    """The digest that names a normalised source."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def locate(target: Callable[..., Any] | type) -> tuple[Codebase, Node]:
    """The repository of a function or class, and its outermost definition there. ConfigError if it has no file."""
    target = inspect.unwrap(target)
    name = target.__module__
    if name == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        name = spec.name if spec is not None else name
    try:
        file = Path(inspect.getfile(target)).resolve()
    except (OSError, TypeError) as error:
        message = f"{target.__qualname__} has no source file; define stages and their settings in a module"
        raise ConfigError(message) from error
    base = file.parent if file.name == "__init__.py" else file.with_suffix("")
    parts = tuple(name.split("."))
    if base.parts[-len(parts) :] == parts:
        root = base.parents[len(parts) - 1]
    else:
        name, root = base.name, base.parent
    return codebase(root), Node("definition", name, target.__qualname__.partition(".")[0])


def reach(code: Codebase, start: Iterable[Node]) -> dict[str, str]:
    """ "module:definition" → its normalised source, sorted, for everything that can be reached from `start`."""
    found: dict[Node, str] = {}
    seen: set[Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node in seen or code.is_engine(node.module):
            continue
        seen.add(node)
        source, edges = code.remembered(node, _visit)
        waiting += edges
        if source is not None:
            found[node] = source
    partial = {node for node in found if node.kind == "behaviour" and node._replace(kind="definition") in found}
    return dict(sorted((str(node), source) for node, source in found.items() if node not in partial))


_Visit: TypeAlias = tuple[str | None, list[Node]]
"""The normalised source of a node, if it has any of its own, and the nodes it reaches directly."""


def _visit(code: Codebase, node: Node) -> _Visit:
    if node.kind == "everything":
        return None, [Node("whole", name) for name in code.everything()]
    module = code.module(node.module)
    if node.kind == "files":
        return _list_files(module), []
    if node.kind == "whole":
        return None, list(_whole(code, module))
    if node.kind == "effects":
        executed = [Node("effects", name) for name in module.executes if code.has(name)]
        pieces = [*module.effects, *_registrations(code, module)]
        source, edges = _read(code, module, pieces) if pieces else (None, [])
        return source, [*edges, *executed]
    pieces = module.pieces(node.name)
    if not pieces:
        raise ConfigError(f"{node} cannot be found in {module.path}; define it at the top level of its module")
    source, edges = (_read_behaviour if node.kind == "behaviour" else _read)(code, module, pieces)
    stars = [Node("whole", name) for name in module.stars if code.has(name)]
    return source, [*edges, *stars, Node("effects", module.name)]


def _read(code: Codebase, module: Module, pieces: Sequence[Piece]) -> _Visit:
    """Source and edges of statements: their text, and what the imported names in it stand for."""
    edges: list[Node] = []
    bindings: set[str] = set()
    for piece in pieces:
        local: dict[str, list[Import]] = {}
        for name, target in piece.imports:
            local.setdefault(name, []).append(target)
        edges += [Node("effects", name) for name in piece.executes if code.has(name)]
        edges += [Node("whole", star.module) for star in local.get("*", ()) if code.has(star.module)]
        for mention in piece.mentions:
            reached, bound = _targets(code, module, mention, local)
            edges += reached
            bindings |= bound
    # A statement's text never begins with "#", so what the names stand for cannot be mistaken for it.
    return "\n".join([*sorted(bindings), *(piece.text for piece in pieces)]) + "\n", edges


def _targets(
    code: Codebase, module: Module, mention: Mention, local: dict[str, list[Import]]
) -> tuple[list[Node], set[str]]:
    """The nodes that one mention reaches, and "# name = what it stands for" for what must be told apart."""
    root = mention.chain[0]
    targets = list(resolve(code, module, mention.chain, local))
    if not targets and not module.binds(root):
        targets = [".".join(mention.chain)]  # a builtin
        bound: set[str] = set()
    else:
        bound = {
            f"# {'.'.join(mention.chain)} = {target}" for target in targets if str(target) != f"{module.name}:{root}"
        }
    nodes: list[Node] = []
    for target in targets:
        if isinstance(target, Node):
            nodes.append(target)
        elif target in _READS_OWN_MODULE:
            nodes.append(Node("whole", module.name))
        elif target in _IMPORTERS:
            literal = mention.literal
            if literal is None or literal.startswith("."):
                nodes.append(Node("everything", module.name))
            elif code.has(literal):
                nodes.append(Node("whole", literal))
        elif target.startswith(_READS_ANYTHING):
            nodes.append(Node("everything", module.name))
        elif target.startswith(_READS_FILES):
            nodes.append(Node("files", module.name))
    return nodes, bound


def _read_behaviour(code: Codebase, module: Module, pieces: Sequence[Piece]) -> _Visit:
    """A class of settings: its methods count in full; of its bases and the classes of its fields, the behaviour."""
    held = [
        target._replace(kind="behaviour")
        for piece in pieces
        for mention in (piece.mentions if piece.behaviour is None else piece.parts)
        for target in resolve(code, module, mention.chain)
        if isinstance(target, Node) and target.kind == "definition"
    ]
    classes = [piece.behaviour for piece in pieces if piece.behaviour is not None]
    if not classes:
        return None, held
    source, edges = _read(code, module, classes)
    return source, [*edges, *held]


def _whole(code: Codebase, module: Module) -> Iterator[Node]:
    """All that a module defines, does and imports."""
    yield Node("effects", module.name)
    yield from (Node("definition", module.name, name) for name in module.names)
    yield from (Node("whole", name) for name in module.stars if code.has(name))
    for targets in module.imports.values():
        for target in targets:
            yield from (node for node in follow(code, target) if isinstance(node, Node))


def _registrations(code: Codebase, module: Module) -> list[Piece]:
    """Definitions that make themselves known elsewhere just by being defined."""
    defined = [piece for name in module.names for piece in module.pieces(name) if piece.defines]
    return [piece for piece in defined if _decorated(code, module, piece) or _announced(code, module, piece)]


def _decorated(code: Codebase, module: Module, piece: Piece) -> bool:
    """Whether a decorator of this repository stands above the definition."""
    return any(isinstance(t, Node) for mention in piece.decorators for t in resolve(code, module, mention.chain))


def _announced(code: Codebase, module: Module, piece: Piece) -> bool:
    """Whether a base in this repository, however far up, defines `__init_subclass__` or names a metaclass."""
    for mention in piece.bases:
        for target in resolve(code, module, mention.chain):
            if not isinstance(target, Node) or target.kind != "definition" or code.is_engine(target.module):
                continue
            home = code.module(target.module)
            if any(base.announces or _announced(code, home, base) for base in home.pieces(target.name)):
                return True
    return False


def _list_files(module: Module) -> str:
    """Names and digests of all that is not Python below a module's folder, since code there may read it."""
    folder = module.path.parent
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    )
    return "".join(f"{path.relative_to(folder).as_posix()} {hash_file(path)}\n" for path in files)
