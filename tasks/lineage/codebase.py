"""The repository's modules as they were when this process loaded them: which statement binds which name.

Sources are read once per process. A file edited while the process runs changes nothing here, as it changes nothing in
what the process executes; otherwise a result made by old code could be stored under the key of new code.
"""

import ast
import symtable
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tasks.lineage.errors import ConfigError
from tasks.lineage.syntax import bound_names, dotted, parse

ENGINE = ("tasks.lineage", "tasks.stage", "tasks.tracking")
"""Packages outside every digest; recipe.CONTRACT_VERSION stands for them."""

N = TypeVar("N")
V = TypeVar("V")

_DECLARATIVE = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Pass, ast.Raise,
)  # fmt: skip


@dataclass(frozen=True)
class Import:
    """What a name stands for that an import binds: a module, or (if `attribute`) something in it."""

    module: str
    attribute: str | None = None

    def __str__(self) -> str:
        return self.module if self.attribute is None else f"{self.module}:{self.attribute}"


@dataclass
class Module:
    """One module of the repository.

    scopes: the compiler's analysis of which names are local. definitions: name → the statements that bind it, other
    than imports. imports: name → what it stands for.
    effects: statements that do something when the module is imported, other than binding names.
    executes: modules that importing this one executes. stars: modules of which every name is imported.
    """

    name: str
    path: Path
    scopes: symtable.SymbolTable
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    executes: set[str] = field(default_factory=set)
    stars: set[str] = field(default_factory=set)

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def imported(self, statement: ast.stmt) -> dict[str, Import]:
        """Local name → what it stands for, of one import statement; star imports are under "*"."""
        if isinstance(statement, ast.Import):
            pairs = (
                (alias.asname, alias.name) if alias.asname else (_first(alias.name),) * 2 for alias in statement.names
            )
            return {name: Import(target) for name, target in pairs}
        assert isinstance(statement, ast.ImportFrom)
        source = self._absolute(statement)
        return {alias.asname or alias.name: Import(source, alias.name) for alias in statement.names}

    def executed(self, statement: ast.stmt) -> set[str]:
        """Names that may be modules, which one import statement executes."""
        if isinstance(statement, ast.Import):
            return {alias.name for alias in statement.names}
        assert isinstance(statement, ast.ImportFrom)
        source = self._absolute(statement)
        return {source} | {f"{source}.{alias.name}" for alias in statement.names}

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if statement.level == 0:
            return statement.module or ""
        parts = self.package.split(".")
        parts = parts[: len(parts) - (statement.level - 1)]
        return ".".join([*parts, *([statement.module] if statement.module else [])])


class Codebase:
    """All modules below one folder, read when first asked for and never again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sources: dict[str, bytes] = {}
        self._modules: dict[str, Module] = {}
        self._paths: dict[str, Path | None] = {}
        self._memory: dict[Any, Any] = {}

    def path(self, name: str) -> Path | None:
        """The file of a module of this repository; None for any other name."""
        if name not in self._paths:
            base = self.root.joinpath(*name.split("."))
            found = (path for path in (base.with_name(base.name + ".py"), base / "__init__.py") if path.is_file())
            self._paths[name] = next(found, None) if name else None
        return self._paths[name]

    def has(self, name: str) -> bool:
        return self.path(name) is not None

    def is_engine(self, name: str) -> bool:
        return any(name == engine or name.startswith(engine + ".") for engine in ENGINE)

    def module(self, name: str) -> Module:
        if name not in self._modules:
            path = self.path(name)
            assert path is not None, name
            self._modules[name] = self._parse(name, path)
        return self._modules[name]

    def remembered(self, node: N, compute: Callable[["Codebase", N], V]) -> V:
        """`compute(self, node)`, once per process."""
        if node not in self._memory:
            self._memory[node] = compute(self, node)
        value: V = self._memory[node]
        return value

    def everything(self) -> list[str]:
        """Every module of every package at the root."""
        packages = [path.parent for path in self.root.glob("*/__init__.py")]
        files = sorted(file for package in packages for file in package.rglob("*.py"))
        names = [
            ".".join(file.relative_to(self.root).with_suffix("").parts).removesuffix(".__init__") for file in files
        ]
        return [name for name in names if not self.is_engine(name)]

    def remember_loaded(self) -> None:
        """Read the source of every module of this repository that the process has loaded so far."""
        prefix = str(self.root) + "/"
        for name, module in list(sys.modules.items()):
            if name not in self._sources and (getattr(module, "__file__", None) or "").startswith(prefix):
                path = self.path(name)
                if path is not None:
                    self._sources[name] = path.read_bytes()

    def _parse(self, name: str, path: Path) -> Module:
        source = self._sources.setdefault(name, path.read_bytes())
        try:
            tree, scopes = parse(source, str(path))
        except SyntaxError as error:
            raise ConfigError(f"{path} cannot be read as Python, so what depends on it is unknown: {error}") from error
        module = Module(name, path, scopes)
        parts = name.split(".")
        module.executes.update(".".join(parts[:length]) for length in range(1, len(parts)))
        for statement in tree.body:
            _classify(module, statement)
        return module


@cache
def codebase(root: Path) -> Codebase:
    """The one view of `root` that this process holds."""
    return Codebase(root)


def _classify(module: Module, statement: ast.stmt) -> None:
    """File a module-level statement under what it binds, imports or does."""
    if _never_runs(statement):
        return
    if isinstance(statement, ast.Import | ast.ImportFrom):
        _add_import(module, statement)
        return
    for name in bound_names(statement):
        module.definitions.setdefault(name, []).append(statement)
    for inner in ast.walk(statement):
        if isinstance(inner, ast.Import | ast.ImportFrom) and not _is_scope(statement):
            module.executes |= module.executed(inner)
    if not _declares_only(statement):
        module.effects.append(statement)


def _add_import(module: Module, statement: ast.Import | ast.ImportFrom) -> None:
    if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
        return
    module.executes |= module.executed(statement)
    for name, target in module.imported(statement).items():
        if name == "*":
            module.stars.add(target.module)
        else:
            module.imports.setdefault(name, []).append(target)


def _first(name: str) -> str:
    return name.partition(".")[0]


def _is_scope(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _declares_only(statement: ast.stmt) -> bool:
    """Whether running the statement does nothing but bind names."""
    if isinstance(statement, ast.ClassDef):
        return all(_declares_only(inner) for inner in statement.body)
    if isinstance(statement, ast.If | ast.Try):
        blocks = [statement.body, statement.orelse]
        if isinstance(statement, ast.Try):
            blocks += [statement.finalbody, *(handler.body for handler in statement.handlers)]
        inner = [item for block in blocks for item in block]
        decorated = any(isinstance(item, ast.ClassDef) or getattr(item, "decorator_list", None) for item in inner)
        return not decorated and all(_declares_only(item) for item in inner)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(_binds_names(target) for target in targets)
    return isinstance(statement, _DECLARATIVE)


def _binds_names(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(_binds_names(element) for element in target.elts)
    if isinstance(target, ast.Starred):
        return _binds_names(target.value)
    return isinstance(target, ast.Name) and target.id != "_"  # what is assigned to _ is there for what it does


def _never_runs(statement: ast.stmt) -> bool:
    """`if TYPE_CHECKING:` and `if __name__ == "__main__":` without an else: not run when a module is imported."""
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    chain = dotted(statement.test)
    if chain is not None:
        return chain[-1] == "TYPE_CHECKING"
    return isinstance(statement.test, ast.Compare) and dotted(statement.test.left) == ["__name__"]
