"""The repository's modules as they were when this process loaded them: which statement binds which name.

Sources are read once per process. A file edited while the process runs changes nothing here, as it changes nothing in
what the process executes; otherwise a result made by old code could be stored under the key of new code.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tasks.lineage.errors import ConfigError
from tasks.lineage.outline import Import, Outline, Piece, outline

ENGINE = ("tasks.lineage", "tasks.stage", "tasks.tracking")
"""Packages outside every digest; recipe.CONTRACT_VERSION stands for them."""

N = TypeVar("N")
V = TypeVar("V")


@dataclass(frozen=True)
class Module:
    """One module of the repository; see Outline for what is known of it."""

    name: str
    path: Path
    outline: Outline

    @property
    def imports(self) -> dict[str, list[Import]]:
        return self.outline.imports

    @property
    def stars(self) -> list[str]:
        return self.outline.stars

    @property
    def executes(self) -> list[str]:
        return self.outline.executes

    @property
    def effects(self) -> list[Piece]:
        """Statements that do something when the module is imported, other than binding names."""
        return [self.outline.pieces[number] for number in self.outline.effects]

    @property
    def names(self) -> list[str]:
        """What the module binds, other than by imports."""
        return list(self.outline.definitions)

    def binds(self, name: str) -> bool:
        return name in self.outline.definitions

    def pieces(self, name: str) -> list[Piece]:
        """The statements that bind a name, other than imports."""
        return [self.outline.pieces[number] for number in self.outline.definitions.get(name, ())]


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
            return Module(name, path, outline(source, name, path))
        except SyntaxError as error:
            raise ConfigError(f"{path} cannot be read as Python, so what depends on it is unknown: {error}") from error


@cache
def codebase(root: Path) -> Codebase:
    """The one view of `root` that this process holds."""
    return Codebase(root)
