"""Why a stage would run: what differs, field by field, from the nearest earlier piece of its work.

Nothing is run and nothing is written here.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.lineage.artifact import Artifact
from tasks.lineage.config import StageConfig
from tasks.lineage.recipe import Recipe, Use
from tasks.lineage.record import Record
from tasks.lineage.store import Store


class Cause(BaseModel):
    """One thing that differs: `old` in the nearest earlier record, `new` now. None where there is nothing."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["input", "config", "code", "dependency", "first run", "damaged", "outside world"]
    name: str
    old: Any = None
    new: Any = None


class Plan(BaseModel):
    """What a call would do.

    verdict: "cached" (found in the store), "would run", or "blocked": an earlier stage runs first, and whether this one
    has to depends on what comes out of it. artifact: the result where it is known, or, of a stage that always looks at
    the outside world, the result if that has not changed. compared_with: key of the nearest earlier record.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    verdict: Literal["cached", "would run", "blocked"]
    causes: list[Cause]
    artifact: Artifact | None = None
    compared_with: str | None = None


def plan(
    recipe: Recipe, inputs: Mapping[str, Artifact | None], config: StageConfig, store: Store | None = None
) -> Plan:
    """What a call of `recipe` would do; an input is None where an earlier stage has yet to make it."""
    store = store or Store()
    known = {name: artifact for name, artifact in inputs.items() if artifact is not None}
    use = Use(recipe, known, config)
    if len(known) == len(inputs) and not recipe.always:
        record, problems = store.find(use.key)
        if record is not None and not problems:
            return Plan(
                stage=recipe.name, verdict="cached", causes=[], artifact=record.artifact, compared_with=record.key
            )
        if record is not None:
            damage = [Cause(kind="damaged", name=problem, old=record.output.digest) for problem in problems]
            return Plan(stage=recipe.name, verdict="would run", causes=damage, compared_with=record.key)
    nearest, causes = _nearest(recipe, inputs, use, store)
    artifact = None
    if recipe.always and nearest is not None and not causes:
        artifact = nearest.artifact
        causes = [Cause(kind="outside world", name="looked at in every run", old=artifact.digest)]
    if not causes:
        causes = [Cause(kind="code", name="the engine's contract version")]
    changed = [cause for cause in causes if not (cause.kind == "input" and cause.name in inputs.keys() - known.keys())]
    return Plan(
        stage=recipe.name,
        verdict="would run" if changed or recipe.always else "blocked",
        causes=causes,
        artifact=artifact,
        compared_with=nearest.key if nearest is not None else None,
    )


def _nearest(
    recipe: Recipe, inputs: Mapping[str, Artifact | None], use: Use, store: Store
) -> tuple[Record | None, list[Cause]]:
    """The record of the stage from which the fewest things differ, the newest of equals, and what differs."""
    records = sorted((r for r in store.records() if r.stage == recipe.name), key=lambda r: r.created, reverse=True)
    if not records:
        return None, [Cause(kind="first run", name=recipe.name)]
    compared = [(record, differences(record, inputs, use)) for record in records]
    return min(compared, key=lambda pair: len(pair[1]))


def differences(record: Record, inputs: Mapping[str, Artifact | None], use: Use) -> list[Cause]:
    """What differs between a record and a use: inputs by content, settings, code by definition, library versions."""
    new_inputs = {name: artifact.digest if artifact is not None else None for name, artifact in inputs.items()}
    old_inputs = {name: artifact.digest for name, artifact in record.inputs.items()}
    return [
        *_compare("input", old_inputs, new_inputs),
        *_compare("config", flat(record.config), flat(use.config_identity)),
        *_compare("code", record.code, use.recipe.code.definitions),
        *_compare("dependency", record.versions, use.recipe.versions),
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


def _compare(kind: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    names = sorted(old.keys() | new.keys())
    return [
        Cause(kind=kind, name=name, old=old.get(name), new=new.get(name))
        for name in names
        if name not in old or name not in new or old[name] != new[name]
    ]
