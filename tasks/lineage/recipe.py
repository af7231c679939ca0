"""The declaration of a stage, and the key of one use of it."""

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from typing import Any

from tasks.lineage import canonical
from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources, StageConfig, identity
from tasks.lineage.cost import library_versions
from tasks.lineage.errors import ConfigError
from tasks.lineage.fingerprint import Fingerprint, fingerprint
from tasks.lineage.stage_run import StageRun

CONTRACT_VERSION = 1
"""Raised when the engine itself changes what a stage's output means; every key changes with it."""


_ALWAYS_ACCEPTED = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("config", "resources")]


@dataclass(frozen=True)
class Recipe:
    """What a stage is: its function, and what it promises to make.

    kind: of the output. libraries: distributions whose versions shape the result and enter the key.
    always: never looked up, because the stage reads the outside world; its output is content-addressed all the same.
    """

    function: Callable[..., None]
    kind: str
    libraries: tuple[str, ...] = ()
    always: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.function)
        except NameError as error:
            raise ConfigError(f"{self.name}: {error}; annotate its parameters with names of its module") from error

    @cached_property
    def signature(self) -> inspect.Signature:
        """How the stage is called: the function's parameters without `run`, with defaults for config and resources."""
        parameters = list(inspect.signature(self.function).parameters.values())
        hints = self._hints
        if not parameters or hints.get(parameters[0].name) is not StageRun:
            raise ConfigError(f"{self.name}: the first parameter of a stage is `run: StageRun`")
        for parameter in parameters[1:]:
            hint = hints.get(parameter.name)
            known = hint in (Artifact, Artifact | None, dict[str, Artifact], Resources) or parameter.name == "config"
            if not known:
                raise ConfigError(
                    f"{self.name}: the parameter {parameter.name!r} must be annotated Artifact, Artifact | None, "
                    "dict[str, Artifact] or Resources, or be the `config`"
                )
        free = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=None) for parameter in _ALWAYS_ACCEPTED]
        taken = {parameter.name for parameter in parameters}
        return inspect.Signature([*parameters[1:], *(parameter for parameter in free if parameter.name not in taken)])

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names that the function itself takes."""
        return frozenset(inspect.signature(self.function).parameters)

    @cached_property
    def config_type(self) -> type[StageConfig]:
        hint = self._hints.get("config", StageConfig)
        if not (isinstance(hint, type) and issubclass(hint, StageConfig)):
            raise ConfigError(f"{self.name}: annotate `config` with a subclass of StageConfig")
        return hint

    @property
    def input_names(self) -> list[str]:
        return [name for name in self.signature.parameters if name not in ("config", "resources")]

    def checked_inputs(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The artifacts of a call by parameter name. Raises ConfigError if one is missing or is no artifact."""
        parameters = self.signature.parameters
        missing = [
            name
            for name in self.input_names
            if arguments.get(name) is None and parameters[name].default is Parameter.empty
        ]
        if missing:
            raise ConfigError(f"{self.name} needs {', '.join(missing)}: pass the Artifact that another stage returned")
        flatten(arguments)
        return dict(arguments)

    def settings(self, config: StageConfig, resources: Resources) -> dict[str, Any]:
        """Those of the two that the function takes, by name."""
        offered = {"config": config, "resources": resources}
        return {name: value for name, value in offered.items() if name in self.parameters}

    @cached_property
    def code(self) -> Fingerprint:
        return fingerprint(self.function, self.config_type)

    @cached_property
    def versions(self) -> dict[str, str]:
        return library_versions(self.libraries)


@dataclass(frozen=True)
class Use:
    """One use of a recipe: its inputs by flat name (`name` or `name/key` for a dict of artifacts) and settings."""

    recipe: Recipe
    inputs: Mapping[str, Artifact]
    config: StageConfig

    @cached_property
    def config_identity(self) -> dict[str, Any]:
        """The settings that enter the key, in JSON's own types. Raises CanonicalError."""
        settings: dict[str, Any] = json.loads(canonical.encode(identity(self.config)))
        return settings

    @cached_property
    def key(self) -> str:
        """sha256 of canonical JSON over everything that the result is a function of. Raises CanonicalError."""
        return canonical.digest(
            {
                "contract": CONTRACT_VERSION,
                "stage": self.recipe.name,
                "kind": self.recipe.kind,
                "inputs": {name: artifact.digest for name, artifact in self.inputs.items()},
                "config": self.config_identity,
                "code": self.recipe.code.digest,
                "versions": self.recipe.versions,
            }
        )

    def key_having_seen(self, digest: str) -> str:
        """The key of an "always" stage's result: what it saw of the outside world is part of it."""
        return canonical.digest({"key": self.key, "output": digest})


def flatten(arguments: Mapping[str, Artifact | Mapping[str, Artifact] | None]) -> dict[str, Artifact]:
    """Inputs by flat name, sorted; None, for an input that a stage can do without, is left out.

    Raises ConfigError for what is not an artifact.
    """
    flat: dict[str, Artifact] = {}
    for name, value in arguments.items():
        if value is None:
            continue
        items = {f"{name}/{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
        for flat_name, item in items.items():
            if not isinstance(item, Artifact):
                raise ConfigError(
                    f"the input {flat_name!r} is a {type(item).__name__}; pass the Artifact another stage returned"
                )
            flat[flat_name] = item
    return dict(sorted(flat.items()))
