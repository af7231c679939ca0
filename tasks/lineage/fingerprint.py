"""The digest of the code a stage can reach. First version: the whole module of the stage."""

import ast
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.lineage import canonical


@dataclass(frozen=True)
class Fingerprint:
    """`definitions`: "module:definition" → digest of its normalised source. `digest`: over all of them."""

    definitions: dict[str, str]

    @property
    def digest(self) -> str:
        return canonical.digest(self.definitions)


def fingerprint(function: Callable[..., Any]) -> Fingerprint:
    """The code that `function` can reach."""
    source = Path(inspect.getfile(function)).read_bytes()
    name = f"{function.__module__}:{function.__qualname__}"
    return Fingerprint({name: hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()})
