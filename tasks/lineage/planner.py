"""Planning a whole course without running it: inside `planning()`, calling a stage plans it.

    with planning() as planner:
        train_course(settings)      # the very function that the flow runs
    planner.plans                   # one per stage, in the order of the calls

So a plan can never disagree with the course. A call gives the artifact that is in the store, or a promise of it.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import Cause
from tasks.lineage.config import Resources, StageConfig
from tasks.lineage.errors import AcceptanceRefused, StoreError
from tasks.lineage.execute import check_inputs
from tasks.lineage.explain import Plan, compare, known, outside_world, plan
from tasks.lineage.past import Past
from tasks.lineage.recipe import Recipe, Use, flatten
from tasks.lineage.stage_run import StageRun
from tasks.lineage.store import Store
from tasks.lineage.tree import hash_tree, tree_digest

NOTHING = "0" * 64


class Promise(Artifact):
    """What a stage has yet to make. Its digest and key stand for nothing."""

    stage: str

    @property
    def path(self) -> Path:
        raise StoreError(f"the output of {self.stage} is yet to be made; a plan cannot read it")


@dataclass
class Planner:
    """Plans the calls of stages, one after the other.

    look: whether to look at the outside world, for the stages that read it; else it is assumed to be as it was.
    """

    look: bool = True
    past: Past = field(default_factory=lambda: Past(Store()))
    plans: list[Plan] = field(default_factory=list)
    uses: dict[str, Use] = field(default_factory=dict)

    def call(self, recipe: Recipe, arguments: Mapping[str, Any], config: StageConfig, resources: Resources) -> Artifact:
        """Plan one call. Raises what looking at the outside world raises, and StoreError where the stage would run and
        could not, since what it takes was adopted and is gone."""
        given = flatten(arguments)
        inputs = {name: None if isinstance(value, Promise) else value for name, value in given.items()}
        made = Use(recipe, {name: value for name, value in inputs.items() if value is not None}, config)
        if recipe.always and self.look and len(made.inputs) == len(inputs):
            planned = self._look(made, arguments, resources)
        else:
            planned = plan(recipe, inputs, config, self.past)
        if planned.verdict == "would run":
            check_inputs(made, self.past.store, only_declared=True)
        promises = {name: value for name, value in given.items() if isinstance(value, Promise)}
        planned = planned.model_copy(update={"causes": [self._promised(c, promises) for c in planned.causes]})
        self.plans.append(planned)
        self.uses[recipe.name] = made
        return planned.artifact or Promise(kind=recipe.kind, digest=NOTHING, key=NOTHING, stage=recipe.name)

    def complete_use(self, stage: str) -> Use:
        """The use of a stage that was planned. Raises AcceptanceRefused if an input of it is yet to be made."""
        planned = next(planned for planned in self.plans if planned.stage == stage)
        use = self.uses[stage]
        waiting = sorted({cause.upstream for cause in planned.causes if cause.upstream and cause.new is None})
        if waiting:
            raise AcceptanceRefused(
                f"{stage} takes what {', '.join(waiting)} would make anew. Accept or run {waiting[0]} first."
            )
        return use

    def _look(self, use: Use, arguments: Mapping[str, Any], resources: Resources) -> Plan:
        """Make the output of a stage that reads the outside world, beside the store, and see whether it is known."""
        digest = observe(use, arguments, resources)
        key = use.key_having_seen(digest)
        record, problems = self.past.store.find(key)
        if record is not None:
            return known(record, problems)
        nearest, causes = compare(use, self.past)
        if nearest is not None and not causes:
            causes = [outside_world(self.past.store, nearest.key, digest)]
        return Plan(
            stage=use.recipe.name,
            verdict="would run",
            causes=causes,
            artifact=Artifact(kind=use.recipe.kind, digest=digest, key=key),
            compared_with=nearest.key if nearest else None,
        )

    def _promised(self, cause: Cause, promises: Mapping[str, Promise]) -> Cause:
        """A cause that is an input yet to be made, with the stage that makes it and why that one runs."""
        promise = promises.get(cause.name)
        if cause.kind != "input" or promise is None:
            return cause
        upstream = next(planned for planned in reversed(self.plans) if planned.stage == promise.stage)
        return cause.model_copy(update={"upstream": promise.stage, "because": roots(upstream)})


_planner: ContextVar[Planner | None] = ContextVar("planner", default=None)


@contextmanager
def planning(look: bool = True, store: Store | None = None) -> Iterator[Planner]:
    """Within the block, calling a stage plans it. Gives the planner, which holds the plans."""
    planner = Planner(look, Past(store or Store()))
    token = _planner.set(planner)
    try:
        yield planner
    finally:
        _planner.reset(token)


def current() -> Planner | None:
    """The planner of the block that runs; None where stages are really to run."""
    return _planner.get()


def roots(planned: Plan) -> tuple[Cause, ...]:
    """The changes that make a stage run, each with the stage where it was made; each once."""
    found: dict[tuple[str | None, str, str], Cause] = {}
    for cause in planned.causes:
        behind = cause.because or (cause.model_copy(update={"stage": planned.stage, "diff": None}),)
        found |= {(root.stage, root.kind, root.name): root for root in behind}
    return tuple(found.values())


def observe(use: Use, arguments: Mapping[str, Any], resources: Resources) -> str:
    """The digest of what a stage makes now, without keeping it."""
    with tempfile.TemporaryDirectory(prefix="pedigree-") as folder:
        output = Path(folder, "output")
        output.mkdir()
        run = StageRun(output, Path(folder), Path(folder, "metrics.jsonl"), logging.Logger("silent", logging.CRITICAL))
        use.recipe.function(run, **arguments, **use.recipe.settings(use.config, resources))
        return tree_digest(hash_tree(output))
