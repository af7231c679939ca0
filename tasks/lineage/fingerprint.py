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

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tasks.lineage import canonical
from tasks.lineage.codebase import Codebase, Import, Module, codebase
from tasks.lineage.errors import ConfigError
from tasks.lineage.resolve import Mention, Node, follow, mentions, resolve
from tasks.lineage.syntax import global_names, without_fields
from tasks.lineage.tree import hash_file

_READS_OWN_MODULE = frozenset({"exec", "eval", "globals", "vars"})
_IMPORTERS = frozenset({"importlib.import_module", "importlib.__import__", "__import__"})
_READS_ANYTHING = ("sys.modules", "runpy")
_READS_FILES = ("importlib.resources", "pkgutil", "__file__")


@dataclass(frozen=True)
class Fingerprint:
    """`definitions`: "module:definition" → digest of its normalised source. `digest`: over all of them."""

    definitions: dict[str, str]

    @property
    def digest(self) -> str:
        return canonical.digest(self.definitions)


def fingerprint(function: Callable[..., Any], config: type | None = None) -> Fingerprint:
    """The code that `function` can reach. `config`: the class of its settings, of which only the behaviour counts."""
    code, start = locate(function)
    nodes = [start]
    if config is not None:
        config_code, settings = locate(config)
        if config_code is code:
            nodes.append(settings._replace(kind="behaviour"))
    return Fingerprint(reach(code, nodes))


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
    """ "module:definition" → digest, sorted, for everything that can be reached from `start`."""
    found: dict[Node, str] = {}
    seen: set[Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node in seen or code.is_engine(node.module):
            continue
        seen.add(node)
        digest, edges = code.remembered(node, _visit)
        waiting += edges
        if digest is not None:
            found[node] = digest
    partial = {node for node in found if node.kind == "behaviour" and node._replace(kind="definition") in found}
    return dict(sorted((str(node), digest) for node, digest in found.items() if node not in partial))


_Visit: TypeAlias = tuple[str | None, list[Node]]
"""The digest of a node, if it has source of its own, and the nodes it reaches directly."""


def _visit(code: Codebase, node: Node) -> _Visit:
    if node.kind == "everything":
        return None, [Node("whole", name) for name in code.everything()]
    module = code.module(node.module)
    if node.kind == "files":
        return _digest_files(module), []
    if node.kind == "whole":
        return None, list(_whole(code, module))
    if node.kind == "effects":
        executed = [Node("effects", name) for name in sorted(module.executes) if code.has(name)]
        statements = [*module.effects, *_registrations(code, module)]
        digest, edges = _read(code, module, statements) if statements else (None, [])
        return digest, [*edges, *executed]
    statements = module.definitions.get(node.name, [])
    if not statements:
        raise ConfigError(f"{node} cannot be found in {module.path}; define it at the top level of its module")
    digest, edges = (
        _read_behaviour(code, module, statements) if node.kind == "behaviour" else _read(code, module, statements)
    )
    stars = [Node("whole", name) for name in sorted(module.stars) if code.has(name)]
    return digest, [*edges, *stars, Node("effects", module.name)]


def _read(code: Codebase, module: Module, statements: Sequence[ast.stmt]) -> _Visit:
    """Digest and edges of statements: their normalised source, and what the imported names in it stand for."""
    names = {name for statement in statements for name in global_names(statement, module.scopes)}
    local: dict[str, list[Import]] = {}
    edges: list[Node] = []
    for statement in (inner for outer in statements for inner in ast.walk(outer)):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            edges += [Node("effects", name) for name in sorted(module.executed(statement)) if code.has(name)]
            for name, target in module.imported(statement).items():
                local.setdefault(name, []).append(target)
    bindings: set[str] = set()
    for mention in mentions(statements):
        if mention.chain[0] in names or mention.chain[0] in local:
            reached, bound = _targets(code, module, mention, local)
            edges += reached
            bindings |= bound
    for star in local.get("*", []):
        edges += [Node("whole", star.module)] if code.has(star.module) else []
    source = [ast.dump(statement) for statement in statements]
    return canonical.digest({"source": source, "bindings": sorted(bindings)}), edges


def _targets(
    code: Codebase, module: Module, mention: Mention, local: dict[str, list[Import]]
) -> tuple[list[Node], set[str]]:
    """The nodes that one mention reaches, and "name=what it stands for" for what its digest must tell apart."""
    root = mention.chain[0]
    targets = list(resolve(code, module, mention.chain, local))
    if not targets and root not in module.definitions:
        targets = [".".join(mention.chain)]  # a builtin
        bound: set[str] = set()
    else:
        bound = {f"{'.'.join(mention.chain)}={target}" for target in targets if str(target) != f"{module.name}:{root}"}
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


def _read_behaviour(code: Codebase, module: Module, statements: Sequence[ast.stmt]) -> _Visit:
    """A class of settings: its methods count in full; of its bases and the classes of its fields, the behaviour."""
    classes = [statement for statement in statements if isinstance(statement, ast.ClassDef)]
    inherited: list[ast.AST] = [base for statement in classes for base in statement.bases]
    fields = [item.annotation for statement in classes for item in statement.body if isinstance(item, ast.AnnAssign)]
    aliases = [statement for statement in statements if not isinstance(statement, ast.ClassDef)]
    held = [*inherited, *fields, *aliases]
    parts = [
        target._replace(kind="behaviour")
        for mention in mentions(held)
        for target in resolve(code, module, mention.chain)
        if isinstance(target, Node) and target.kind == "definition"
    ]
    if not classes:
        return None, parts
    digest, edges = _read(code, module, [without_fields(statement) for statement in classes])
    return digest, [*edges, *parts]


def _whole(code: Codebase, module: Module) -> Iterator[Node]:
    """All that a module defines, does and imports."""
    yield Node("effects", module.name)
    yield from (Node("definition", module.name, name) for name in module.definitions)
    yield from (Node("whole", name) for name in sorted(module.stars) if code.has(name))
    for targets in module.imports.values():
        for target in targets:
            yield from (node for node in follow(code, target) if isinstance(node, Node))


def _registrations(code: Codebase, module: Module) -> list[ast.stmt]:
    """Definitions that make themselves known elsewhere just by being defined."""
    found: list[ast.stmt] = []
    for statements in module.definitions.values():
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                decorators = mentions([d.func if isinstance(d, ast.Call) else d for d in statement.decorator_list])
                ours = any(isinstance(t, Node) for mention in decorators for t in resolve(code, module, mention.chain))
                if ours or (isinstance(statement, ast.ClassDef) and _announces_subclasses(code, module, statement)):
                    found.append(statement)
    return found


def _announces_subclasses(code: Codebase, module: Module, definition: ast.ClassDef) -> bool:
    """Whether a base in this repository, however far up, defines `__init_subclass__` or names a metaclass."""
    for mention in mentions(definition.bases):
        for target in resolve(code, module, mention.chain):
            if not isinstance(target, Node) or target.kind != "definition" or code.is_engine(target.module):
                continue
            home = code.module(target.module)
            for base in home.definitions[target.name]:
                if isinstance(base, ast.ClassDef):
                    methods = {item.name for item in base.body if isinstance(item, ast.FunctionDef)}
                    metaclass = any(keyword.arg == "metaclass" for keyword in base.keywords)
                    if metaclass or "__init_subclass__" in methods or _announces_subclasses(code, home, base):
                        return True
    return False


def _digest_files(module: Module) -> str | None:
    """Digest of all that is not Python below a module's folder, since code there may read it."""
    folder = module.path.parent
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    )
    return canonical.digest({path.relative_to(folder).as_posix(): hash_file(path) for path in files})
