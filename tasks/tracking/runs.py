"""Tells MLflow about one flow run or one stage. Every function may be called again with the same entry: what MLflow
already has is not logged twice. All calls name the run; nothing uses the thread's "active run"."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tasks.report.note import note
from tasks.tracking import artifacts, models, server
from tasks.tracking.metrics_rows import Figure, mlflow_name
from tasks.tracking.model_names import MODEL_KINDS
from tasks.tracking.pending import Entry
from tasks.tracking.why_tags import why_tags

# Limits of MLflow 3.17: metrics, then parameters or tags a request; characters of values and of data set digests.
METRICS_A_BATCH = 1000
ITEMS_A_BATCH = 100
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
DATASET_DIGEST_LENGTH = 36
# Without it MLflow shows the pages of an experiment with language-model *applications*: traces, judges, prompts.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
STATUS = {"ran": "FINISHED", "cached": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


def connect() -> MlflowClient:
    """A client bound to the server by address, whatever the process's globals say."""
    base = server.address()
    return MlflowClient(base, base)


def experiment_id(client: MlflowClient) -> str:
    """The experiment that holds every run, made when it is missing."""
    found = client.get_experiment_by_name(server.EXPERIMENT)
    if found is None:
        try:
            made: str = client.create_experiment(server.EXPERIMENT, tags=EXPERIMENT_TAGS)
        except MlflowException:  # another process was quicker
            found = client.get_experiment_by_name(server.EXPERIMENT)
            if found is None:
                raise
        else:
            server.remember_experiment(made)
            return made
    server.remember_experiment(found.experiment_id)
    return str(found.experiment_id)


def refused(error: BaseException) -> bool:
    """Whether MLflow found something wrong with the request itself, so that asking again will not help."""
    return isinstance(error, MlflowException) and error.get_http_status_code() in (400, 404, 409, 413, 422)


def run_is_gone(error: BaseException) -> bool:
    """Whether MLflow no longer knows the run: it was purged, or the server has another database now."""
    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def begin(client: MlflowClient, entry: Entry) -> str:
    """Makes the run, with parameters, tags and inputs, and returns its id. The entry is saved once the run exists."""
    experiment = experiment_id(client)
    if entry.run_id is None:
        if entry.role == "stage" and entry.parent_run_id is None and entry.flow_run_id:
            entry.parent_run_id = _run_tagged(
                client, experiment, {"pedigree.flow_run_id": entry.flow_run_id, "pedigree.role": "flow"}
            )
        known = _run_tagged(client, experiment, {"pedigree.mirror": entry.id}) if entry.path.exists() else None
        entry.run_id = known or _create(client, experiment, entry)
        entry.save()
    _log_in_batches(client, entry.run_id, parameters=entry.parameters)
    log_inputs(client, experiment, entry)
    entry.begun = True
    entry.save()
    return entry.run_id


def log_inputs(client: MlflowClient, experiment: str, entry: Entry) -> None:
    """Input artifacts: models as logged models, the rest as data sets that a search by digest finds."""
    datasets, used = [], []
    for name, artifact in entry.inputs.items():
        if artifact.kind in MODEL_KINDS:
            model = models.find(client, experiment, artifact.digest)
            used += [LoggedModelInput(model.model_id)] if model else []
        else:
            source = json.dumps({"uri": f"pedigree://objects/{artifact.digest}", "key": artifact.key})
            datasets.append(
                DatasetInput(
                    Dataset(
                        name=artifact.kind,
                        digest=artifact.digest[:DATASET_DIGEST_LENGTH],
                        source_type="pedigree",
                        source=source,
                    ),
                    [InputTag("mlflow.data.context", name)],
                )
            )
    if datasets or used:
        client.log_inputs(entry.run_id, datasets=datasets or None, models=used or None)


def log_figures(client: MlflowClient, run_id: str, figures: Iterable[Figure], model_id: str | None = None) -> None:
    """Metrics in as few requests as MLflow takes. Logging the same rows again changes nothing."""
    metrics = [
        Metric(mlflow_name(name), value, milliseconds, step or 0, model_id=model_id)
        for name, value, step, milliseconds in figures
    ]
    for batch in _batches(metrics, METRICS_A_BATCH):
        client.log_batch(run_id, metrics=batch)


def end(client: MlflowClient, entry: Entry) -> None:
    """State, figures, files and models of a finished stage, or the state of a finished flow."""
    assert entry.run_id is not None
    if entry.role == "stage":
        model_id = None
        if entry.record is not None:
            model_id = _log_model(client, entry)
            # One moment for all, so that mirroring again adds no second point.
            figures = [Figure(name, value, None, entry.ended or 0) for name, value in entry.record["metrics"].items()]
            log_figures(client, entry.run_id, figures, model_id)
            artifacts.upload(client, entry, model_id)
            _lift_to_parent(client, entry, figures)
        else:
            artifacts.upload_unfinished(client, entry)
        _log_in_batches(client, entry.run_id, tags=_closing_tags(entry, model_id))
    status = STATUS[entry.state]
    client.set_terminated(entry.run_id, status, end_time=entry.ended)


def _create(client: MlflowClient, experiment: str, entry: Entry) -> str:
    tags = {
        "mlflow.source.name": f"pedigree {entry.name}",
        "mlflow.source.type": "JOB",
        "mlflow.user": server.user(),
        "pedigree.role": entry.role,
        "pedigree.mirror": entry.id,
        "pedigree.flow_run_id": entry.flow_run_id,
        "mlflow.note.content": _note(entry)[:TAG_LENGTH],
        **{f"pedigree.prefect.{name}": value for name, value in entry.prefect.items()},
    }
    if entry.role == "flow":
        tags["pedigree.flow"] = entry.name
    else:
        tags |= {"pedigree.stage": entry.name, "pedigree.key": entry.key}
        tags |= {f"pedigree.input.{name}": artifact.digest for name, artifact in entry.inputs.items()}
        # MLflow cannot search for "any tag"; this one finds a digest, or the beginning of one, in whichever input.
        tags["pedigree.inputs"] = " ".join(sorted({artifact.digest for artifact in entry.inputs.values()}))
    if entry.parent_run_id:
        tags[MLFLOW_PARENT_RUN_ID] = entry.parent_run_id
    run = client.create_run(
        experiment,
        start_time=entry.started,
        run_name=entry.name,
        tags={name: value[:TAG_LENGTH] for name, value in tags.items() if value},
    )
    return str(run.info.run_id)


def _closing_tags(entry: Entry, model_id: str | None) -> dict[str, str]:
    tags = {"pedigree.state": entry.state, "mlflow.note.content": _note(entry)}
    if entry.record is not None:
        tags["pedigree.digest"] = entry.record["output"]["digest"]
        tags["pedigree.key"] = entry.record["key"]  # of a snapshot it is known only now
        tags |= why_tags(entry.state, entry.record)
        if entry.record.get("git_commit"):
            tags["mlflow.source.git.commit"] = entry.record["git_commit"]
        if entry.state == "cached" and entry.record.get("mlflow_run_id"):
            tags["pedigree.made_by"] = entry.record["mlflow_run_id"]
    if model_id:
        tags["pedigree.model_id"] = model_id
    if entry.error:
        tags["pedigree.error"] = entry.error
    return tags


def _note(entry: Entry) -> str:
    store = Store()
    made = {name: store.maker(Artifact(**given.model_dump())) for name, given in entry.inputs.items()}
    makers = {name: record.mlflow_run_id for name, record in made.items() if record is not None}
    return note(entry.model_dump(), server.run_url, makers)


def _log_model(client: MlflowClient, entry: Entry) -> str | None:
    model = models.publish(client, experiment_id(client), entry)
    if model is None:
        return None
    outputs = client.get_run(entry.run_id).outputs
    already = {output.model_id for output in outputs.model_outputs} if outputs else set()
    if model.model_id not in already:  # MLflow answers a second time with an error
        client.log_outputs(entry.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def _lift_to_parent(client: MlflowClient, entry: Entry, figures: list[Figure]) -> None:
    """The evaluation's figures also stand on the flow's run, so that MLflow compares whole courses in one table."""
    if entry.parent_run_id and entry.record and entry.record["output"]["kind"] == "evaluation":
        log_figures(client, entry.parent_run_id, figures)


def _log_in_batches(
    client: MlflowClient,
    run_id: str,
    parameters: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    params = [Param(mlflow_name(name), value[:PARAMETER_LENGTH]) for name, value in (parameters or {}).items()]
    for batch in _batches(params, ITEMS_A_BATCH):
        client.log_batch(run_id, params=batch)
    run_tags = [RunTag(mlflow_name(name), value[:TAG_LENGTH]) for name, value in (tags or {}).items()]
    for batch in _batches(run_tags, ITEMS_A_BATCH):
        client.log_batch(run_id, tags=batch)


def _run_tagged(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> str | None:
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    runs = client.search_runs([experiment], condition, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
