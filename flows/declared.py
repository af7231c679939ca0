"""Loading the stages for what they declare, without the libraries that only their work needs.

A plan reads the stages' names, settings and source, and runs none of them; but their modules import what the work
needs, which takes longer than the plan. So here those libraries are stood in for while the modules load, as Sphinx
does to read docstrings (autodoc_mock_imports). A process that has loaded the stages so can plan, and nothing else;
where even a plan needs such a library, as to ask for the GPU, it is done again with everything loaded.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

WORK_ONLY = ("torch", "safetensors", "scipy", "matplotlib", "numba", "ftfy", "phonenumbers", "pypdfium2")
"""Libraries that no declaration needs, and that take long to load or load one that does."""


class StandInUsed(Exception):
    """Something that only stands in for a library's was used for real."""


class _Absent(type):
    """The type of what stands in: a class that can be inherited from, annotate and decorate; any attribute is another.

    Whatever would take a value out of it raises StandInUsed.
    """

    def __getattr__(cls, name: str) -> Any:
        return _stand_in(name)

    def __eq__(cls, other: object) -> bool:
        if isinstance(other, type) or type(other).__module__ == "typing":  # as annotations ask
            return cls is other
        raise StandInUsed(f"{cls.__name__} == {other!r}")

    __hash__ = type.__hash__

    def __bool__(cls) -> bool:
        raise StandInUsed(cls.__name__)


def _stand_in(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _Absent(name, (_Called,), {})


class _Called:
    """The result of a call: a decorator, and nothing else."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, decorated: Any) -> Any:
        return decorated

    def __getattr__(self, name: str) -> Any:
        raise StandInUsed(f"{type(self).__name__}().{name}") if not name.startswith("__") else AttributeError(name)

    def __eq__(self, other: object) -> bool:
        raise StandInUsed(f"{type(self).__name__}() == {other!r}")

    def __bool__(self) -> bool:
        raise StandInUsed(f"{type(self).__name__}()")


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _stand_in(name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in WORK_ONLY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


def with_declarations(answer: Callable[[ModuleType], T]) -> T:
    """`answer(flows.planning)`, if possible with the stages loaded without the libraries of their work."""
    try:
        with _declarations_only():
            planning = import_module("flows.planning")
        return answer(planning)
    except StandInUsed:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("flows", "tasks", "model")]:
            del sys.modules[name]
        return answer(import_module("flows.planning"))


@contextmanager
def _declarations_only() -> Iterator[None]:
    """Within the block, what is imported of WORK_ONLY is stood in for; afterwards it can be imported for real."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]
