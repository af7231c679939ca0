"""What the result of a stage is a function of, and what differs between two of these: nothing here reads a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.lineage.canonical import digest
from tasks.lineage.cause import Cause
from tasks.lineage.record import Record

if TYPE_CHECKING:
    from tasks.lineage.recipe import Use


class Identity(NamedTuple):
    """Settings, code and versions, each as a short digest: enough to tell that two are the same."""

    config: str
    code: str
    versions: str


@dataclass(frozen=True)
class Sides:
    """Inputs by digest (None: yet to be made), and the rest by name."""

    inputs: Mapping[str, str | None]
    config: Mapping[str, Any]
    code: Mapping[str, str]
    versions: Mapping[str, str]

    @staticmethod
    def of_record(record: Record) -> Sides:
        inputs = {name: artifact.digest for name, artifact in record.inputs.items()}
        return Sides(inputs, record.config, record.code, record.versions)

    @staticmethod
    def of_use(use: Use, unmade: frozenset[str] = frozenset()) -> Sides:
        inputs = {name: artifact.digest for name, artifact in use.inputs.items()} | dict.fromkeys(unmade)
        return Sides(inputs, use.config_identity, use.recipe.code.definitions, use.recipe.versions)

    @property
    def identity(self) -> Identity:
        return Identity(*(digest(side)[:16] for side in (self.config, self.code, self.versions)))


def differences(old: Sides, new: Sides) -> list[Cause]:
    """What differs: inputs by content, settings, code by definition, library versions."""
    return [
        *_compare("input", old.inputs, new.inputs),
        *_compare("config", *_flat_where_different(old.config, new.config)),
        *_compare("code", old.code, new.code),
        *_compare("dependency", old.versions, new.versions),
    ]


def distances(old: Sides, new: Sides) -> tuple[int, int, int]:
    """How many settings, definitions and versions differ."""
    config = different(*_flat_where_different(old.config, new.config))
    return len(config), len(different(old.code, new.code)), len(different(old.versions, new.versions))


def different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names that are not the same in both, sorted."""
    if old == new:  # most are alike in most
        return []
    return [
        name
        for name in sorted(old.keys() | new.keys())
        if (name not in old or name not in new or old[name] != new[name])
        and not (_filled(name, old, new) or _filled(name, new, old))
    ]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"source.0.path": value}, so that a difference names one field."""
    if isinstance(value, Mapping):
        items = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        items = []
    if not items:
        return {prefix: value}
    nested = [flat(item, f"{prefix}.{name}" if prefix else name) for name, item in items]
    return {name: item for group in nested for name, item in group.items()}


def _flat_where_different(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both flat, without the fields that are the same in both."""
    names = {name for name in old.keys() | new.keys() if name not in old or name not in new or old[name] != new[name]}
    before, after = ({name: side[name] for name in side if name in names} for side in (old, new))
    return (flat(before) if before else {}), (flat(after) if after else {})


def _compare(kind: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    return [Cause(kind=kind, name=name, old=old.get(name), new=new.get(name)) for name in different(old, new)]


def _filled(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a list or mapping that is empty in `one` has entries in `other`, which tell of the difference."""
    return one.get(name) in ([], (), {}) and any(entry.startswith(f"{name}.") for entry in other)
