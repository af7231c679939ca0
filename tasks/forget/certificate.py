"""The deletion certificate: what was removed, what it had tainted, what replaces that, and the search that shows it.

A plain dict (docs/schemas/forget.json), kept as home/certificates/<id>.json with a page beside it, and put among the
artifacts of the flow's run in MLflow. Nothing in it is text of a document.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.forget.page import page
from tasks.lineage.errors import NotFound, StoreError
from tasks.lineage.files import write_atomically
from tasks.lineage.home import home
from tasks.tracking import retraction

logger = logging.getLogger("pedigree.forget")

Certificate = dict[str, Any]


def folder() -> Path:
    return home() / "certificates"


def write(certificate: Certificate) -> Path:
    """Keep a certificate with its page; gives the path of the JSON."""
    path = folder() / f"{certificate['id']}.json"
    for file, content in _files(certificate).items():
        write_atomically(folder() / file, content.encode())
    return path


def read(identifier: str) -> Certificate:
    """A certificate that was written. Raises NotFound."""
    try:
        certificate: Certificate = json.loads((folder() / f"{identifier}.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no certificate {identifier}; {folder()} holds those that were given") from None
    return certificate


def newest() -> Certificate | None:
    """The certificate that was given last; None if none was."""
    given = [json.loads(path.read_bytes()) for path in folder().glob("*.json")]
    return max(given, key=lambda certificate: str(certificate["created"]), default=None)


def publish(certificate: Certificate, mlflow_run_id: str | None) -> bool:
    """Put a certificate and its page among the run's artifacts; False, with a warning, where it is refused."""
    if mlflow_run_id is None:
        return False
    named = {f"certificate{Path(file).suffix}": content for file, content in _files(certificate).items()}
    try:
        retraction.log_files(mlflow_run_id, named)
    except StoreError as error:
        logger.warning("MLflow did not take the certificate, which is %s: %s", folder() / certificate["id"], error)
        return False
    return True


def tag_tainted(models: list[dict[str, Any]], certificate: str, replaced_by: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tag every registered version of the models, and say of each whether it is tagged now.

    replaced_by: stage → "name version n" of the model that was made without the documents.
    """
    tagged = []
    for model in models:
        if model["version"] is None:
            tagged.append({**model, "replaced_by": replaced_by.get(model["stage"]), "tagged": False})
            continue
        try:
            done = retraction.tag([model], retraction.TAINTED, certificate) == 1
            if done and model["stage"] in replaced_by:
                retraction.tag([model], retraction.REPLACED_BY, replaced_by[model["stage"]])
        except StoreError as error:
            logger.warning("%s %s could not be tagged: %s", model["name"], model["version"], error)
            done = False
        tagged.append({**model, "replaced_by": replaced_by.get(model["stage"]), "tagged": done})
    return tagged


def untag(models: list[dict[str, Any]]) -> None:
    """Take the tag off registered versions that were made again without the documents, to the same bytes."""
    known = [model for model in models if model["version"] is not None]
    try:
        if known:
            retraction.untag(known, retraction.TAINTED)
    except StoreError as error:
        logger.warning("the tag %s could not be taken off again: %s", retraction.TAINTED, error)


def _files(certificate: Certificate) -> dict[str, str]:
    return {
        f"{certificate['id']}.json": json.dumps(certificate, indent=1, ensure_ascii=False) + "\n",
        f"{certificate['id']}.html": page(certificate),
    }
