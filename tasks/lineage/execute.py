"""Running a stage by the contract: key → lock → hit or work → store → record. Knows no orchestrator.

Nothing is written into the store before the stage has succeeded. What an attempt leaves in its work folder outlives
it, whoever killed it, and the next attempt with the same key finds it.
"""

import logging
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tasks.lineage import sources
from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import Cause
from tasks.lineage.config import Resources
from tasks.lineage.cost import Meter, numerics
from tasks.lineage.declaration import Declaration
from tasks.lineage.errors import StoreError, StoreFull, is_full
from tasks.lineage.explain import Reasons, outside_world, reasons
from tasks.lineage.files import end_last_line, remove_tree
from tasks.lineage.lock import Lock, locked
from tasks.lineage.parallel import Mapper, on_this_machine
from tasks.lineage.recipe import Use
from tasks.lineage.record import Output, Record
from tasks.lineage.stage_run import Logger, StageRun, summary
from tasks.lineage.store import MISSING, Store
from tasks.lineage.tree import hash_file

DOCUMENT_FIGURES = ("documents_in", "documents_kept", "documents_dropped")


@dataclass(frozen=True)
class Context:
    """Who runs the stage, for the record; and what wants to hear of its progress."""

    logger: Logger = field(default_factory=lambda: logging.getLogger("pedigree.stage"))
    on_progress: Callable[[dict[str, Any]], None] | None = None
    mapper: Mapper | None = None  # what `run.map` does; None: processes of this machine
    on_start: Callable[[Path], None] | None = None  # called with the metrics file once real work begins
    flow_run_id: str | None = None
    task_run_id: str | None = None
    mlflow_run_id: Callable[[], str | None] = lambda: None  # asked when the record is written
    declared: Declaration | None = None  # of what was made elsewhere


@dataclass(frozen=True)
class Outcome:
    """A finished stage: its record, whether it was there already, and if not, why it ran."""

    record: Record
    cached: bool
    causes: tuple[Cause, ...] = ()

    @property
    def artifact(self) -> Artifact:
        return self.record.artifact


def execute(
    use: Use, arguments: Mapping[str, Any], resources: Resources, context: Context, store: Store | None = None
) -> Outcome:
    """The outcome of `use`, found in the store or made by calling the stage function with `arguments`.

    arguments: the function's artifact parameters by name. Raises whatever the function raises; StoreFull if the disk
    is full, with the work folder kept.
    """
    store = store or Store()
    name = use.recipe.name
    with _explaining_full_disks(store, name):
        record, problems = _look_up(use, store)
        if record is not None and not problems and not store.work_path(use.key).exists():
            return Outcome(record, cached=True)
        inputs = [artifact.digest for artifact in use.inputs.values()]
        with locked(store.lock_path(use.key), name, context.logger, inputs) as lock:
            record, problems = _look_up(use, store)
            if record is not None and not problems:
                remove_tree(store.work_path(use.key))  # of a process killed between its record and this
                return Outcome(record, cached=True)
            why = reasons(use, store, problems)
            if record is not None:
                context.logger.warning(
                    "%s: its stored output %s is damaged and is made again: %s",
                    name, record.output.digest[:12], "; ".join(problems),
                )  # fmt: skip
                store.set_aside(record.output.digest)
            return _work(use, arguments, resources, context, store, lock, why)


def _look_up(use: Use, store: Store) -> tuple[Record | None, list[str]]:
    """The record of a use and the problems of its output; nothing where it may not be used."""
    return (None, []) if use.recipe.always else store.find(use.key)


def check_inputs(use: Use, store: Store, only_declared: bool = False) -> None:
    """Raise StoreError unless every input is in the store, as whole as its record says.

    only_declared: look at those alone that were made elsewhere, and so cannot be made again by a stage before.
    """
    for name, artifact in use.inputs.items():
        record = store.record(artifact.key)
        if only_declared and (record is None or record.declared is None):
            continue
        if record is not None and record.output.digest == artifact.digest:
            problems = store.problems(record.output)
        else:
            problems = [] if store.object_path(artifact.digest).is_dir() else [MISSING]
        if problems:
            declared = record is not None and record.declared is not None
            remedy = (
                "Adopt it again (`pedigree adopt`)." if declared else "Run the flow that made it, which makes it again."
            )
            raise StoreError(
                f"{use.recipe.name}: its input {name} ({artifact}) is damaged in the store: {'; '.join(problems)}. "
                f"{remedy}"
            )


def _work(
    use: Use,
    arguments: Mapping[str, Any],
    resources: Resources,
    context: Context,
    store: Store,
    lock: Lock,
    why: Reasons,
) -> Outcome:
    """Call the stage function in its work folder, store what it wrote, and record it."""
    check_inputs(use, store)
    work = store.work_path(use.key)
    metrics_file = store.metrics_path(use.key)
    metrics_file.parent.mkdir(parents=True, exist_ok=True)
    if work.exists():
        context.logger.info("%s: going on from the work of an earlier attempt", use.recipe.name)
    else:
        metrics_file.unlink(missing_ok=True)
    end_last_line(metrics_file)
    output = work / "output"
    remove_tree(output)
    output.mkdir(parents=True)
    if context.on_start is not None:
        context.on_start(metrics_file)
    mapper = context.mapper or on_this_machine(resources)
    run = StageRun(output, work, metrics_file, context.logger, context.on_progress, mapper)
    meter = Meter()
    use.recipe.function(run, **arguments, **use.recipe.settings(use.config, resources))
    lock.check()
    made = store.commit(output, use.recipe.kind)
    followed = resources.model_copy(update=run.not_followed)
    outcome = _keep(use, made, summary(metrics_file), meter, followed, context, store, why, run.pure)
    remove_tree(work)
    return outcome


def _keep(
    use: Use,
    output: Output,
    metrics: dict[str, float],
    meter: Meter,
    resources: Resources,
    context: Context,
    store: Store,
    why: Reasons,
    pure: bool,
) -> Outcome:
    """Write the record, unless an always-run stage found the world unchanged: then its earlier record stands.

    pure: whether the output follows from the key alone; if not, what it turned out to be is part of its key.
    """
    key = use.key if pure and not use.recipe.always else use.key_having_seen(output.digest)
    earlier = store.record(key)
    if use.recipe.always and earlier is not None:
        return Outcome(earlier, cached=True)
    if earlier is not None and earlier.output.digest != output.digest:
        context.logger.warning(
            "%s: the same key gave %s before and %s now; its output is not a pure function of its inputs",
            use.recipe.name, earlier.output.digest[:12], output.digest[:12],
        )  # fmt: skip
    compared_with, causes = why
    if compared_with is not None and not causes:
        causes = [outside_world(store, compared_with, output.digest)]
    sources.keep(store, use.recipe.code)
    record = Record(
        key=key,
        stage=use.recipe.name,
        inputs=dict(use.inputs),
        config=use.config_identity,
        code=use.recipe.code.definitions,
        code_digest=use.recipe.code.digest,
        versions=use.recipe.versions,
        output=output,
        metrics=metrics,
        documents={name: int(metrics[name]) for name in DOCUMENT_FIGURES if name in metrics} or None,
        wall_seconds=round(meter.wall_seconds, 3),
        cpu_seconds=round(meter.cpu_seconds, 3),
        energy_wh=round(meter.energy_wh, 6),
        numerics=numerics(resources),
        metrics_digest=hash_file(store.metrics_path(use.key)),
        git_commit=git_commit(),
        flow_run_id=context.flow_run_id,
        task_run_id=context.task_run_id,
        mlflow_run_id=context.mlflow_run_id(),
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        causes=[cause.model_copy(update={"diff": None}) for cause in causes],  # `code/` has what it needs
        compared_with=compared_with,
        declared=context.declared,
    )
    store.write_record(record)
    return Outcome(record, cached=False, causes=tuple(causes))


@contextmanager
def _explaining_full_disks(store: Store, stage: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, StoreFull) or not is_full(error):
            raise
        raise StoreFull(
            f"{stage}: no space left under {store.root}. Nothing half-written was stored. Free some space (unfinished "
            f"work is in {store.root / 'work'}) or set PEDIGREE_HOME to a larger disk, then run again: "
            "it goes on from its last checkpoint."
        ) from error


@cache
def git_commit() -> str | None:
    """The commit of the code that runs, with "+changes" if tracked files differ from it; None outside a repository."""

    def git(*command: str) -> str:
        root = Path(__file__).parent
        return subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
