"""The decorator that makes a plain function a stage. The only importer of Prefect below flows/.

    @stage(output="corpus", retries=2, libraries=("pyarrow",))
    def deduplicate(run: StageRun, corpus: Artifact, config: DeduplicateConfig, resources: Resources) -> None: ...

    kept = deduplicate(corpus=cleaned, config=DeduplicateConfig(), resources=Resources())   # → Artifact

Inside a Prefect flow a call is a Prefect task, told of in the journal and in MLflow; a hit ends in a state named
"Cached". Anywhere else the same call runs the engine alone. Prefect takes seconds to import, so that happens only
where a flow runs.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from model.stopping import TrainingStopped
from tasks.lineage import journal, planner
from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources, StageConfig, neutral
from tasks.lineage.errors import PedigreeError, StoreFull
from tasks.lineage.execute import Context, Outcome, execute
from tasks.lineage.explain import Plan, plan
from tasks.lineage.fingerprint import locate
from tasks.lineage.parallel import Mapper
from tasks.lineage.recipe import Recipe, Use, flatten
from tasks.lineage.stage_run import Logger, StageRun

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

    from tasks.tracking.mirror import StageMirror

__all__ = ["Artifact", "Resources", "Stage", "StageConfig", "StageRun", "neutral", "stage"]

BACKOFF_SECONDS = 5  # before the first retry; doubles with each, ± half

FINAL_ERRORS = (
    TrainingStopped, PedigreeError, ValueError, TypeError, AssertionError, LookupError, ArithmeticError, AttributeError,
    ImportError, NameError, NotImplementedError,
)  # fmt: skip
"""Mistakes in settings, data or code: the same call fails the same way, so trying again only costs time; and training
that was asked to stop."""


class Stage:
    """A declared stage. Calling it gives the artifact: found in the store, or made."""

    def __init__(self, recipe: Recipe, retries: int) -> None:
        self.recipe = recipe
        self.retries = retries
        self._mirrors: dict[str, StageMirror] = {}  # task run → its mirror, which outlives the attempts
        self.__doc__ = recipe.function.__doc__
        self.__name__ = recipe.name
        self.__module__ = recipe.function.__module__
        self.__qualname__ = recipe.function.__qualname__

    def __reduce__(self) -> str:
        """By name, for workers elsewhere: Prefect sends them the context of the task they work for."""
        return self.__qualname__

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def function(self) -> Callable[..., None]:
        """The plain function, as it was written."""
        return self.recipe.function

    @property
    def config_type(self) -> type[StageConfig]:
        return self.recipe.config_type

    @property
    def kind(self) -> str:
        """The kind of artifact it makes."""
        return self.recipe.kind

    @property
    def libraries(self) -> tuple[str, ...]:
        return self.recipe.libraries

    def __call__(self, *args: Any, **kwargs: Any) -> Artifact:
        """Run, or find, the stage. Arguments: its artifacts, `config` and `resources` (default: the default ones).

        Inside `planner.planning()` it is planned only.
        """
        arguments, config, resources = self._bind(*args, **kwargs)
        rehearsal = planner.current()
        if rehearsal is not None:
            return rehearsal.call(self.recipe, arguments, config.resolved(), resources)
        if not _in_flow():
            context = Context(mapper=_mapper(resources))
            return execute(self._use(arguments, config), arguments, resources, context).artifact
        state: State[Any] = self._task(arguments, config, resources, return_state=True)  # type: ignore[assignment]
        artifact: Artifact = state.result()
        return artifact

    def key_for(self, *args: Any, **kwargs: Any) -> str:
        """The key that a call with these arguments has."""
        arguments, config, _ = self._bind(*args, **kwargs)
        return self._use(arguments, config).key

    def plan(self, inputs: Mapping[str, Artifact | None], config: StageConfig | None = None) -> Plan:
        """Whether a call would run, and why, without running anything.

        inputs: by parameter name (`name/key` for an entry of a dict); None for what an earlier stage has yet to make.
        """
        return plan(self.recipe, inputs, (config or self.config_type()).resolved())

    def _bind(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], StageConfig, Resources]:
        bound = self.recipe.signature.bind_partial(*args, **kwargs)
        config = bound.arguments.pop("config", None) or self.config_type()
        resources = bound.arguments.pop("resources", None) or Resources()
        return self.recipe.checked_inputs(bound.arguments), config, resources

    def _use(self, arguments: Mapping[str, Any], config: StageConfig) -> Use:
        return Use(self.recipe, flatten(arguments), config.resolved())

    @cached_property
    def _task(self) -> "Task[Any, Any]":
        from prefect import Task
        from prefect.cache_policies import NO_CACHE
        from prefect.tasks import exponential_backoff

        return Task(
            self._attempt,
            name=self.name,
            task_run_name=self.name,
            description=self.__doc__,
            tags=["stage"],
            retries=self.retries,
            retry_delay_seconds=exponential_backoff(BACKOFF_SECONDS),
            retry_jitter_factor=0.5,
            retry_condition_fn=_may_pass,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    def _attempt(self, arguments: dict[str, Any], config: StageConfig, resources: Resources) -> "Artifact | State[Any]":
        """One attempt as a Prefect task run; the state that it returns says whether the store had the result."""
        from prefect.context import TaskRunContext
        from prefect.logging import get_run_logger
        from prefect.states import Completed

        context = TaskRunContext.get()
        assert context is not None
        use = self._use(arguments, config)
        report = _Report(use, context.task_run, get_run_logger(), self._mirrors)
        try:
            outcome = execute(use, arguments, resources, replace(report.context, mapper=_mapper(resources)))
        except BaseException as error:
            final = isinstance(error, FINAL_ERRORS) or context.task_run.run_count > self.retries
            report.failed(error, final=final or not isinstance(error, Exception))
            raise
        report.finished(outcome)
        if not outcome.cached:
            return outcome.artifact
        made = f"{outcome.artifact} was made on {outcome.record.created} by flow run {outcome.record.flow_run_id}"
        return Completed(name="Cached", message=made, data=outcome.artifact)


class _Report:
    """What the journal, MLflow, OpenLineage and Prefect are told about one attempt. None of it decides what it does."""

    def __init__(self, use: Use, task_run: "TaskRun", logger: Logger, mirrors: "dict[str, StageMirror]") -> None:
        from prefect.utilities.urls import url_for

        from tasks.openlineage.emit import StageLineage
        from tasks.tracking import mirror

        self._use = use
        self._logger = logger
        self._mirrors = mirrors
        self._began = time.monotonic()
        self._flow_run_id = str(task_run.flow_run_id)
        self._task_run_id = str(task_run.id)
        prefect = {
            "flow_run_id": self._flow_run_id,
            "task_run_id": self._task_run_id,
            "flow_run_url": url_for("flow-run", obj_id=self._flow_run_id) or "",
            "task_run_url": url_for("task-run", obj_id=self._task_run_id) or "",
        }
        self._note(state="running", started=journal.now(), key=use.key, **_NOT_YET)
        flow = journal.read_flow(self._flow_run_id) or {}
        name = str(flow.get("flow") or "flow")
        self._lineage = StageLineage(use, self._task_run_id, (name, self._flow_run_id), links=prefect)
        self._lineage.started(again=task_run.run_count > 1)
        if self._task_run_id not in mirrors:
            parent = flow.get("mlflow_run_id")
            mirrors[self._task_run_id] = mirror.open_stage(
                use.recipe.name, parent, use.key, use.config_identity, dict(use.inputs), prefect
            )
        self._mirror = mirrors[self._task_run_id]
        self._note(mlflow_run_id=self._mirror.run_id)

    @property
    def context(self) -> Context:
        return Context(
            logger=self._logger,
            on_progress=lambda progress: self._note(progress=progress),
            on_start=self._mirror.follow,
            flow_run_id=self._flow_run_id,
            task_run_id=self._task_run_id,
            mlflow_run_id=lambda: self._mirror.run_id,
        )

    def finished(self, outcome: Outcome) -> None:
        record, artifact = outcome.record, outcome.artifact
        state: Any = "cached" if outcome.cached else "ran"
        self._mirrors.pop(self._task_run_id, None)
        self._mirror.finish(state, record, artifact.path, None)
        self._note(
            state=state,
            key=record.key,
            output=artifact.digest,
            metrics=record.metrics,
            progress=None,
            mlflow_run_id=self._mirror.run_id,
            **self._end(),
        )
        self._lineage.finished(outcome, self._mirror.run_id)
        self._publish(outcome)

    def failed(self, error: BaseException, final: bool) -> None:
        """`final`: nobody tries again by himself. A full disk may refuse the journal; `error` is what matters then."""
        text = str(error) if isinstance(error, PedigreeError) else f"{type(error).__name__}: {error}".rstrip(": ")
        if not isinstance(error, Exception):
            text = f"interrupted ({text}); run again, and it goes on from where it was"
        with contextlib.suppress(OSError, StoreFull):
            self._note(state="failed", error=text, **self._end())
        self._lineage.failed(error, final)
        if final:
            self._mirrors.pop(self._task_run_id, None)
            with contextlib.suppress(OSError):
                self._mirror.finish("failed", None, None, text)

    def _end(self) -> dict[str, Any]:
        return {"ended": journal.now(), "seconds": round(time.monotonic() - self._began, 3)}

    def _note(self, **fields: Any) -> None:
        journal.write_stage(self._flow_run_id, self._use.recipe.name, **fields)

    def _publish(self, outcome: Outcome) -> None:
        """A page in the Prefect UI that leads to MLflow and to the record. Not worth failing a finished stage for."""
        from prefect.artifacts import create_markdown_artifact

        from tasks.report.stage_page import stage_page

        try:
            create_markdown_artifact(
                markdown=stage_page(outcome, self._mirror.run_id),
                key=f"stage-{self._use.recipe.name.replace('_', '-')}",
                description=f"{self._use.recipe.name}: {outcome.artifact}",
            )
        except Exception as error:
            self._logger.warning("Prefect did not take the page of this stage: %s", error)


_NOT_YET: dict[str, Any] = {
    "ended": None,
    "seconds": None,
    "output": None,
    "metrics": {},
    "progress": None,
    "error": None,
}


def _mapper(resources: Resources) -> Mapper | None:
    """Where pieces of the stage run, if not in processes of this machine."""
    if resources.runner == "local":
        return None
    from tasks.runners import on_prefect

    return on_prefect(resources)


def _in_flow() -> bool:
    """Whether a Prefect flow is running here, and not one of its tasks. Without Prefect imported there is none."""
    context = sys.modules.get("prefect.context")
    if context is None:
        return False
    return context.FlowRunContext.get() is not None and context.TaskRunContext.get() is None


def _may_pass(task: "Task[Any, Any]", task_run: "TaskRun", state: "State[Any]") -> bool:
    """Whether trying again may help: not after a mistake in settings, data or code."""
    return not isinstance(state.data, FINAL_ERRORS)


def stage(
    *, output: str, retries: int = 0, libraries: tuple[str, ...] = (), always: bool = False
) -> Callable[[Callable[..., None]], Stage]:
    """Declare a stage.

    output: kind of artifact it makes. retries: for failures that may pass. libraries: distributions whose versions
    enter the key. always: reads the outside world, so it is never looked up.
    """

    def declare(function: Callable[..., None]) -> Stage:
        locate(function)[0].remember_loaded()  # what runs is what is loaded now, whatever happens to the files later
        return Stage(Recipe(function, output, tuple(libraries), always), retries)

    return declare
