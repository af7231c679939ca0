"""A stage run by a command instead of a flow, told to MLflow and OpenLineage all the same."""

import logging
import uuid
from collections.abc import Callable, Mapping

from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources, StageConfig
from tasks.lineage.declaration import Declaration
from tasks.lineage.execute import Context, Outcome, execute
from tasks.lineage.recipe import Use
from tasks.lineage.store import Store
from tasks.openlineage import outbox
from tasks.openlineage.emit import FLUSH_SECONDS, StageLineage
from tasks.stage import Stage
from tasks.tracking import mirror

logger = logging.getLogger("pedigree.alone")


def run_alone(
    stage: Stage,
    arguments: Mapping[str, Artifact],
    config: StageConfig,
    resources: Resources,
    report: Callable[[str, int, int], None],
    doing: str,
    declared: Declaration | None = None,
    store: Store | None = None,
) -> tuple[Outcome, str | None]:
    """The outcome, and the run in MLflow, if it answers. report: called with `doing`, what is done and the whole."""
    given = dict(arguments)
    use = Use(stage.recipe, given, config)
    told = mirror.open_stage(stage.name, None, use.key, use.config_identity, given, {}, wait=True)
    lineage = StageLineage(use, str(uuid.uuid4()), declared=declared)
    lineage.started()
    context = Context(
        logger=logger,
        on_progress=lambda progress: report(doing, int(progress["step"]), int(progress["total"])),
        on_start=told.follow,
        mlflow_run_id=lambda: told.run_id,
        declared=declared,
    )
    try:
        outcome = execute(use, given, resources, context, store)
    except BaseException as error:
        told.finish("failed", None, None, str(error) or type(error).__name__)
        lineage.failed(error, final=True)
        raise
    told.finish("cached" if outcome.cached else "ran", outcome.record, outcome.artifact.path)
    lineage.finished(outcome, told.run_id)
    outbox.flush(FLUSH_SECONDS)
    return outcome, told.run_id
