"""Says in OpenLineage's terms that a flow or a stage began and how it ended. Nothing here fails or delays the work.

Events go to a file (log.py) and, where a server is named, to that too (outbox.py). The run of a stage has the id of its
task run in Prefect, that of a flow the id of its flow run. What has begun and not ended is remembered under `open/`, so
that a process that was killed is told of as ABORT by the next flow or `pedigree sync`.
"""

import functools
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec

from tasks.lineage import journal
from tasks.lineage.ancestry import declared_behind
from tasks.lineage.cause import accepted_sentence, sentence
from tasks.lineage.declaration import Declaration, declared_sentence
from tasks.lineage.execute import Outcome
from tasks.lineage.files import write_atomically
from tasks.lineage.recipe import Use
from tasks.lineage.store import Store
from tasks.openlineage import datasets, log, outbox
from tasks.openlineage.facets import Facets, engine, error_message, event, facet, job_facets, job_type, parent

FLUSH_SECONDS = 2.0  # that the end of a flow waits for a server that takes events slowly
TERMINAL = frozenset({"COMPLETE", "FAIL", "ABORT"})

logger = logging.getLogger("pedigree.openlineage")
P = ParamSpec("P")


def namespace() -> str:
    """Of jobs and of artifacts."""
    return os.environ.get("OPENLINEAGE_NAMESPACE", "").strip() or "pedigree"


def disabled() -> bool:
    """As OpenLineage's own client has it."""
    return os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true"


def _harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Whatever goes wrong in saying something is logged and forgotten."""

    @functools.wraps(function)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        if disabled():
            return
        try:
            function(*args, **kwargs)
        except Exception as error:
            logger.warning("an OpenLineage event was lost: %s", error)
            logger.debug("it was lost here", exc_info=True)

    return attempt


class StageLineage:
    """What is said of one run of a stage. flow: name and run id of the flow it belongs to, if any."""

    def __init__(
        self, use: Use, run_id: str, flow: tuple[str, str] | None = None, *,
        links: Mapping[str, str] | None = None, declared: Declaration | None = None,
    ) -> None:  # fmt: skip
        self._use, self._run_id, self._flow, self._links = use, run_id, flow, dict(links or {})
        self._declared = declared

    @_harmless
    def started(self, again: bool = False) -> None:
        """again: an earlier attempt of the same run failed."""
        self._say("RUNNING" if again else "START", {})

    @_harmless
    def finished(self, outcome: Outcome, mlflow_run_id: str | None) -> None:
        record = outcome.record
        behind = list(declared_behind(Store(), record))
        found = facet(
            "pedigree_result",
            state="cached" if outcome.cached else "ran",
            key=record.key,
            digest=record.output.digest,
            made={"at": record.created, "run": record.task_run_id, "flow_run": record.flow_run_id},
            seconds=record.wall_seconds,
            cpu_seconds=record.cpu_seconds,
            energy_wh=record.energy_wh,
            metrics={name: value for name, value in record.metrics.items() if math.isfinite(value)},
            why=[] if outcome.cached else [sentence(cause) for cause in outcome.causes],
            accepted=accepted_sentence(record.accepted) if record.accepted else None,
            declared=[f"{made.artifact} {declared_sentence(declared)}" for made, declared in behind] or None,
            mlflow_run_id=mlflow_run_id,
        )
        self._say("COMPLETE", found, [datasets.output_of(namespace(), record)])

    @_harmless
    def failed(self, error: BaseException, final: bool) -> None:
        """final: nobody tries again by himself. What was interrupted from outside is aborted, not failed."""
        kind = ("FAIL" if isinstance(error, Exception) else "ABORT") if final else "OTHER"
        self._say(kind, error_message(error))

    def _say(self, kind: str, facets: Facets, outputs: list[dict[str, Any]] | None = None) -> None:
        recipe, space = self._use.recipe, namespace()
        run = engine(in_prefect=self._flow is not None) | facet(
            "pedigree_stage", key=self._use.key, config=self._use.config_identity, code=recipe.code.digest,
            versions=recipe.versions, links=self._links or None,
        )  # fmt: skip
        if self._flow is not None:
            run |= parent(space, *self._flow)
        inputs = datasets.inputs_of(space, self._use.inputs) + list(datasets.outside(self._use.config_identity))
        if self._declared is not None:
            inputs.append(datasets.declared_origin(self._declared))
        job = {"namespace": space, "name": recipe.name, "facets": job_facets(recipe)}
        _emit(event(kind, journal.now(), self._run_id, run | facets, job, inputs, outputs))


@_harmless
def flow_started(flow: str, flow_run_id: str, parameters: Mapping[str, Any]) -> None:
    """parameters: everything the flow was told."""
    abort_abandoned()
    run = engine(in_prefect=True) | facet("pedigree_flow", parameters=dict(parameters))
    _emit(event("START", journal.now(), flow_run_id, run, _flow_job(flow)))


@_harmless
def flow_ended(flow: str, flow_run_id: str, error: BaseException | None = None) -> None:
    kind = "COMPLETE" if error is None else "FAIL" if isinstance(error, Exception) else "ABORT"
    run = engine(in_prefect=True) | (error_message(error) if error is not None else {})
    _emit(event(kind, journal.now(), flow_run_id, run, _flow_job(flow)))
    outbox.flush(FLUSH_SECONDS)


def sync() -> tuple[int, int, str | None]:
    """Tells of killed processes and sends what waits; how many events a server took, how many wait still, and why."""
    abort_abandoned()
    sent, trouble = outbox.deliver()
    return sent, len(outbox.waiting()), trouble


@_harmless
def abort_abandoned() -> None:
    """Says of every run whose process is gone that it was aborted."""
    for path in sorted(_open_folder().glob("*.json")):
        try:
            begun = json.loads(path.read_bytes())
            said, process = begun["event"], begun["process"]
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)  # ended meanwhile, or no file of ours
            continue
        if journal.alive(process):
            continue
        with suppress(FileNotFoundError):  # another process says it
            path.unlink()
            said["run"]["facets"] |= error_message(journal.INTERRUPTED)
            _emit({**said, "eventType": "ABORT", "eventTime": journal.now()})


def _flow_job(flow: str) -> dict[str, Any]:
    return {"namespace": namespace(), "name": flow, "facets": job_type("DAG")}


def _emit(said: dict[str, Any]) -> None:
    content = json.dumps(said, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
    begun = _open_folder() / f"{said['run']['runId']}.json"
    if said["eventType"] in TERMINAL:
        begun.unlink(missing_ok=True)
    elif said["eventType"] == "START":
        entry = {"process": journal.this_process(), "event": said}
        write_atomically(begun, json.dumps(entry).encode(), durable=False)
    log.append(content)
    outbox.put(content)


def _open_folder() -> Path:
    return log.folder() / "open"
