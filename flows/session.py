"""What every flow does around its stages: says in the journal, in MLflow and to OpenLineage that it began, and how it
ended."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from prefect.runtime import deployment
from prefect.runtime import flow_run as context

from flows.deploy import PRESET_TAG
from flows.prefect_api import flow_run_address
from flows.presets import FLOW_SECTIONS
from flows.settings import Settings
from model.stopping import sigterm_reaches_threads
from tasks.device import check_device
from tasks.lineage import journal
from tasks.openlineage import emit
from tasks.tracking import mirror

API_URL = "PREFECT_API_URL"


def run_name() -> str:
    """A name people recognise: the flow, the preset, the local time."""
    return " ".join([str(context.flow_name), preset() or "own settings", f"{datetime.now():%Y-%m-%d %H:%M:%S}"])


def preset() -> str | None:
    """The preset this run was started with: its tag says so, or else its deployment is named after it."""
    for tag in context.tags or []:
        if tag.startswith(PRESET_TAG):
            return str(tag).removeprefix(PRESET_TAG)
    return str(deployment.name) if deployment.name else None


@contextmanager
def recorded(flow: str, settings: Settings) -> Iterator[str | None]:
    """Begins and ends the flow run in the journal and in MLflow; gives the MLflow run's id.

    Whatever ends the block early, a stopped process included, is written down as a failure and goes on upwards.
    """
    flow_run_id = str(context.id)
    url = flow_run_address(os.environ[API_URL], flow_run_id) if API_URL in os.environ else context.ui_url
    parameters = settings.model_dump(mode="json", include=set(FLOW_SECTIONS[flow]))
    mlflow_run_id = mirror.open_flow(flow, flow_run_id, url, parameters)
    journal.begin_flow(
        flow, flow_run_id, preset=preset(), mlflow_run_id=mlflow_run_id, prefect_url=url, settings=parameters
    )
    emit.flow_started(flow, flow_run_id, parameters)
    try:
        if "finetune" in FLOW_SECTIONS[flow]:
            check_device(settings.resources)
        with sigterm_reaches_threads():
            yield mlflow_run_id
    except BaseException as error:
        reason = str(error) or type(error).__name__
        journal.end_flow(flow_run_id, "failed", error=reason)
        mirror.close_flow(mlflow_run_id, "FAILED")
        emit.flow_ended(flow, flow_run_id, error)
        raise
    journal.end_flow(flow_run_id, "completed")
    mirror.close_flow(mlflow_run_id, "FINISHED")
    emit.flow_ended(flow, flow_run_id)
