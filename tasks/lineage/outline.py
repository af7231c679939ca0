"""What the source of one module says, as plain data: which statement binds which name, and what each one mentions.

All of it is a function of the source and of the module's name alone, so it is worked out once for each content and
remembered in the state folder. What names stand for in other modules is worked out anew every time (resolve.py).
"""

import ast
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tasks.lineage import syntax
from tasks.lineage.files import write_atomically
from tasks.lineage.home import home


class Import(NamedTuple):
    """What a name stands for that an import binds: a module, or (if `attribute`) something in it."""

    module: str
    attribute: str | None = None


class Mention(NamedTuple):
    """A dotted name as code uses it; if it is called with a literal string first, that string."""

    chain: tuple[str, ...]
    literal: str | None = None


class Piece(NamedTuple):
    """One statement.

    text: its normalised source. mentions: the names that it may read from its module or from an import inside it.
    imports: (name, what it stands for) of imports inside it, star imports as "*". executes: modules these execute.
    defines: whether it is a function or class. decorators: their names. bases: of a class.
    announces: a class that is told of its subclasses. parts: what a class of settings holds, or an alias names.
    behaviour: a class without its fields and bases.
    """

    text: str
    mentions: tuple[Mention, ...]
    imports: tuple[tuple[str, Import], ...] = ()
    executes: tuple[str, ...] = ()
    defines: bool = False
    decorators: tuple[Mention, ...] = ()
    bases: tuple[Mention, ...] = ()
    announces: bool = False
    parts: tuple[Mention, ...] = ()
    behaviour: "Piece | None" = None


@dataclass
class Outline:
    """One module.

    pieces: its statements, other than imports. definitions: name → numbers of the pieces that bind it. effects: numbers
    of those that do something when the module is imported, other than binding names. imports: name → what it may stand
    for. executes: modules that importing this one executes. stars: modules of which every name is imported.
    """

    pieces: list[Piece] = field(default_factory=list)
    definitions: dict[str, list[int]] = field(default_factory=dict)
    effects: list[int] = field(default_factory=list)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    executes: list[str] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)


def outline(source: bytes, name: str, path: Path) -> Outline:
    """The outline of a module. Raises SyntaxError."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _remembered(source, name, package, lambda: _draw(source, name, package, str(path)))


def _draw(source: bytes, name: str, package: str, filename: str) -> Outline:
    tree, scopes = syntax.parse(source, filename)
    drawn = Outline()
    parts = name.split(".")
    executes = {".".join(parts[:length]) for length in range(1, len(parts))}
    stars: set[str] = set()
    for statement in tree.body:
        if syntax.never_runs(statement):
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                continue
            executes |= _executed(statement, package)
            for local, target in _imported(statement, package):
                if local == "*":
                    stars.add(target.module)
                else:
                    drawn.imports.setdefault(local, []).append(target)
            continue
        number = len(drawn.pieces)
        drawn.pieces.append(_piece(statement, scopes, package))
        for bound in sorted(syntax.bound_names(statement)):
            drawn.definitions.setdefault(bound, []).append(number)
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            executes.update(drawn.pieces[number].executes)
        if not syntax.declares_only(statement):
            drawn.effects.append(number)
    drawn.executes, drawn.stars = sorted(executes), sorted(stars)
    return drawn


def _piece(statement: ast.stmt, scopes: Any, package: str) -> Piece:
    piece = _plain(statement, scopes, package)
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return piece
    called = [d.func if isinstance(d, ast.Call) else d for d in statement.decorator_list]
    piece = piece._replace(defines=True, decorators=tuple(mentions(called)))
    if not isinstance(statement, ast.ClassDef):
        return piece
    fields = [item.annotation for item in statement.body if isinstance(item, ast.AnnAssign)]
    methods = {item.name for item in statement.body if isinstance(item, ast.FunctionDef)}
    return piece._replace(
        bases=tuple(mentions(statement.bases)),
        announces="__init_subclass__" in methods or any(keyword.arg == "metaclass" for keyword in statement.keywords),
        parts=tuple(mentions([*statement.bases, *fields])),
        behaviour=_plain(syntax.without_fields(statement), scopes, package),
    )


def _plain(statement: ast.stmt, scopes: Any, package: str) -> Piece:
    """What counts of any statement, whatever it is."""
    names = syntax.global_names(statement, scopes)
    inner = [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = tuple(pair for node in inner for pair in _imported(node, package))
    known = names | {name for name, _ in imports}
    return Piece(
        text=_text(statement),
        mentions=tuple(dict.fromkeys(mention for mention in mentions([statement]) if mention.chain[0] in known)),
        imports=imports,
        executes=tuple(sorted({name for node in inner for name in _executed(node, package)})),
    )


def mentions(statements: Iterable[ast.AST]) -> Iterator[Mention]:
    """Every dotted name in the statements, the longest form of each."""
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and (chain := syntax.dotted(node.func)) is not None:
            first = node.args[0] if node.args else None
            literal = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
            yield Mention(tuple(chain), literal)
            waiting += [*node.args, *node.keywords]
        elif isinstance(node, ast.expr) and (chain := syntax.dotted(node)) is not None:
            yield Mention(tuple(chain))
        elif isinstance(node, ast.Global):
            yield from (Mention((name,)) for name in node.names)
        else:
            waiting += ast.iter_child_nodes(node)


def _text(statement: ast.stmt) -> str:
    try:
        return ast.unparse(statement)
    except ValueError:  # an f-string that Python 3.11 cannot write on one line
        return ast.dump(statement)


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    """Local name and what it stands for, of one import statement; star imports are under "*"."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            target = alias.name if alias.asname else alias.name.partition(".")[0]
            yield alias.asname or target, Import(target)
    else:
        source = _absolute(statement, package)
        for alias in statement.names:
            yield alias.asname or alias.name, Import(source, alias.name)


def _executed(statement: ast.Import | ast.ImportFrom, package: str) -> set[str]:
    """Names that may be modules, which one import statement executes."""
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names}
    source = _absolute(statement, package)
    return {source} | {f"{source}.{alias.name}" for alias in statement.names}


def _absolute(statement: ast.ImportFrom, package: str) -> str:
    if statement.level == 0:
        return statement.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - (statement.level - 1)]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


# -- the memory of outlines ----------------------------------------------------------------------------------------


@cache
def _version() -> bytes:
    """Changes with the code that draws outlines, and with the Python whose parser it uses."""
    sources = [Path(file).read_bytes() for file in (__file__, syntax.__file__) if file]
    return hashlib.sha256(b"\0".join([*sources, sys.version.encode()])).digest()


def _remembered(source: bytes, name: str, package: str, draw: Callable[[], Outline]) -> Outline:
    """The outline from the state folder if it is there and whole; else drawn, and left there. No folder, no memory."""
    key = hashlib.sha256(b"\0".join([_version(), name.encode(), package.encode(), source])).hexdigest()
    path = home() / "cache" / "outlines" / key
    with suppress(OSError, ValueError):
        check, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() == check:
            return _decode(json.loads(content))
    drawn = draw()
    if home().is_dir():
        content = json.dumps(_encode(drawn), separators=(",", ":")).encode()
        with suppress(OSError):  # a full disk: the outline is drawn again the next time
            write_atomically(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content, durable=False)
    return drawn


def _encode(drawn: Outline) -> list[Any]:
    return [drawn.pieces, drawn.definitions, drawn.effects, drawn.imports, drawn.executes, drawn.stars]


def _decode(content: list[Any]) -> Outline:
    pieces, definitions, effects, imports, executes, stars = content
    targets = {name: [Import(*target) for target in found] for name, found in imports.items()}
    return Outline([_decode_piece(piece) for piece in pieces], definitions, effects, targets, executes, stars)


def _decode_piece(content: list[Any]) -> Piece:
    text, mentioned, imports, executes, defines, decorators, bases, announces, parts, behaviour = content
    return Piece(
        text,
        _decode_mentions(mentioned),
        tuple((name, Import(*target)) for name, target in imports),
        tuple(executes),
        defines,
        _decode_mentions(decorators),
        _decode_mentions(bases),
        announces,
        _decode_mentions(parts),
        None if behaviour is None else _decode_piece(behaviour),
    )


def _decode_mentions(content: list[Any]) -> tuple[Mention, ...]:
    return tuple(Mention(tuple(chain), literal) for chain, literal in content)
