"""Why a stage would run: what differs, field by field, from the nearest earlier piece of its work.

Nothing is run and nothing is written here.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import OUTSIDE_WORLD, Acceptance, Cause
from tasks.lineage.config import StageConfig
from tasks.lineage.past import Past
from tasks.lineage.recipe import Recipe, Use
from tasks.lineage.record import Record
from tasks.lineage.sides import Sides, differences
from tasks.lineage.sources import NOT_KEPT, difference
from tasks.lineage.store import Store

Reasons: TypeAlias = tuple[str | None, list[Cause]]
"""The key of the record that was compared with, and what differs from it."""

ENGINE_CAUSE = Cause(kind="code", name="the engine's contract version")


class Plan(BaseModel):
    """What a call would do.

    verdict: "cached" (found in the store), "would run", or "blocked": an earlier stage runs first, and whether this one
    has to depends on what comes out of it. artifact: the result where it is known. compared_with: key of the nearest
    earlier record. accepted: set if a person took the stored output for this key. assumed: what was not looked at.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    verdict: Literal["cached", "would run", "blocked"]
    causes: list[Cause]
    artifact: Artifact | None = None
    compared_with: str | None = None
    accepted: Acceptance | None = None
    assumed: str | None = None


def plan(recipe: Recipe, inputs: Mapping[str, Artifact | None], config: StageConfig, past: Past | None = None) -> Plan:
    """What a call of `recipe` would do; an input is None where an earlier stage has yet to make it.

    A stage that reads the outside world is planned as if that had not changed; planner.py looks at it.
    """
    past = past or Past(Store())
    store = past.store
    use = Use(recipe, {name: artifact for name, artifact in inputs.items() if artifact is not None}, config)
    unmade = frozenset(inputs.keys() - use.inputs.keys())
    if not unmade and not recipe.always:
        record, problems = store.find(use.key)
        if record is not None:
            return known(record, problems)
    nearest, causes = compare(use, past, unmade)
    if recipe.always and nearest is not None and not causes:
        assumed = f"what it reads outside is as it was on {nearest.created}"
        return known(nearest, store.problems(nearest.output)).model_copy(update={"assumed": assumed})
    own = [cause for cause in causes if not (cause.kind == "input" and cause.name in unmade)]
    return Plan(
        stage=recipe.name,
        verdict="would run" if own else "blocked",
        causes=causes,
        compared_with=nearest.key if nearest is not None else None,
    )


def known(record: Record, problems: list[str]) -> Plan:
    """The plan of what has a record: cached, unless its output is damaged."""
    damage = [_damage(problem) for problem in problems]
    return Plan(
        stage=record.stage,
        verdict="would run" if damage else "cached",
        causes=damage,
        artifact=None if damage else record.artifact,
        compared_with=record.key,
        accepted=record.accepted,
    )


def _damage(problem: str) -> Cause:
    return Cause(kind="damaged", name=problem)


def compare(use: Use, past: Past, unmade: frozenset[str] = frozenset()) -> tuple[Record | None, list[Cause]]:
    """The record that is nearest, as `Past.nearest` has it, and what differs from it.

    unmade: names of inputs that an earlier stage has yet to make.
    """
    now = Sides.of_use(use, unmade)
    nearest = past.nearest(use.recipe.name, now)
    if nearest is None:
        return None, [Cause(kind="first run", name=use.recipe.name)]
    causes = differences(Sides.of_record(nearest), now)
    if not causes and not use.recipe.always:
        causes = [ENGINE_CAUSE]
    return nearest, [_detailed(cause, nearest, use, past.store) for cause in causes]


def outside_world(store: Store, nearest: str, digest: str) -> Cause:
    """What makes a stage that reads the outside world give another output than the record `nearest` has."""
    earlier = store.record(nearest)
    return Cause(kind="input", name=OUTSIDE_WORLD, old=earlier.output.digest if earlier else None, new=digest)


def reasons(use: Use, store: Store, problems: Sequence[str] = ()) -> Reasons:
    """Why `use` runs now: the key of the record it was compared with, and what differs. problems: of its own output."""
    if problems:
        return use.key, [_damage(problem) for problem in problems]
    nearest, causes = compare(use, Past(store))
    return (nearest.key if nearest else None), causes


def _detailed(cause: Cause, nearest: Record, use: Use, store: Store) -> Cause:
    """A changed input with what lies behind it; changed code with the difference."""
    if cause.kind == "input":
        return _explained(cause, nearest, use, store)
    if cause.kind == "code" and cause is not ENGINE_CAUSE:
        diff = difference(store, cause.name, cause.old, cause.new, use.recipe.code.sources)
        return cause.model_copy(update={"diff": diff, "note": None if diff else NOT_KEPT})
    return cause


def _explained(cause: Cause, nearest: Record, use: Use, store: Store) -> Cause:
    """A changed input with the stage that made it and, where both makers are known, the changes between the two."""
    old, new = nearest.inputs.get(cause.name), use.inputs.get(cause.name)
    maker = store.maker(new or old) if new or old else None  # type: ignore[arg-type]
    before = store.maker(old) if old else None
    roots = behind(before, maker, store) if new and before and maker else ()
    return cause.model_copy(update={"upstream": maker.stage if maker else None, "because": tuple(roots)})


def behind(old: Record, new: Record, store: Store) -> list[Cause]:
    """The changes that lead from one piece of work to another, each at the stage where it was made."""
    found: dict[tuple[str | None, str, str], Cause] = {}
    waiting, seen = [(old, new)], set()
    while waiting:
        before, after = waiting.pop()
        if (before.key, after.key) in seen or before.stage != after.stage:
            continue
        seen.add((before.key, after.key))
        causes = differences(Sides.of_record(before), Sides.of_record(after))
        if not causes and before.output.digest != after.output.digest:
            causes = [Cause(kind="input", name=OUTSIDE_WORLD, old=before.output.digest, new=after.output.digest)]
        for cause in causes:
            makers = [store.maker(side.inputs[cause.name]) for side in (before, after) if cause.name in side.inputs]
            if cause.kind == "input" and len(makers) == 2 and makers[0] and makers[1]:
                waiting.append((makers[0], makers[1]))
            else:
                found[after.stage, cause.kind, cause.name] = cause.model_copy(update={"stage": after.stage})
    return list(found.values())
