"""Tags on an MLflow run, through its REST API. A server that is away costs the tags, never the flow."""

import logging
import os
from collections.abc import Mapping

import httpx

logger = logging.getLogger("pedigree.flows")


def tag_run(run_id: str | None, tags: Mapping[str, str]) -> None:
    """Sets tags on the run; says in the log when MLflow does not take them."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not address or run_id is None:
        return
    try:
        with httpx.Client(base_url=f"{address}/api/2.0/mlflow", timeout=10.0) as client:
            for key, value in tags.items():
                client.post("/runs/set-tag", json={"run_id": run_id, "key": key, "value": value}).raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("MLflow did not take the tags of run %s: %s", run_id, error)
