"""Tags on an MLflow run, through its REST API. A server that is away costs the tags, never the flow."""

import logging
from collections.abc import Mapping

import httpx

from tasks.tracking import rest

logger = logging.getLogger("pedigree.flows")


def tag_run(run_id: str | None, tags: Mapping[str, str]) -> None:
    """Sets tags on the run; says in the log when MLflow does not take them."""
    address = rest.base()
    if address is None or run_id is None:
        return
    try:
        with rest.client(address, 10.0) as client:
            for key, value in tags.items():
                client.post("/runs/set-tag", json={"run_id": run_id, "key": key, "value": value}).raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("MLflow did not take the tags of run %s: %s", run_id, error)
