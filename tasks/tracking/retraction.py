"""Taking models back in MLflow: tags that say what is wrong with a version, and deleting versions, models and files.

Every function names the server's refusal.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from tasks.lineage.errors import StoreError
from tasks.tracking import rest, server
from tasks.tracking.registry import Version, aliases_of, versions

TAINTED, REPLACED_BY, PURGED = "pedigree.tainted", "pedigree.replaced_by", "pedigree.purged"
PAGE = 1000
POSTED_PAGE = 50
TIMEOUT_SECONDS = 30.0
PROXIED = "mlflow-artifacts"


@dataclass(frozen=True)
class Traces:
    """What MLflow holds of some outputs. folders: artifact addresses, of runs and of models."""

    versions: list[Version] = field(default_factory=list)
    models: list[str] = field(default_factory=list)  # ids of logged models
    runs: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """As JSON."""
        named = [{"name": version.name, "version": version.version} for version in self.versions]
        return {"versions": named, "models": self.models, "runs": self.runs}


def was_used() -> bool:
    """Whether an MLflow server was ever told of this store."""
    return server.experiments_file().is_file()


def aliased() -> dict[str, list[str]] | None:
    """By digest, the aliases and pins ("pedigree.keep") of registered models; None if no server answers."""
    if not answers():
        return None
    with _client() as client:
        aliases = aliases_of(_pages(client, "GET", "/registered-models/search", "registered_models"))
        found: dict[str, list[str]] = {}
        for entry in _pages(client, "GET", "/model-versions/search", "model_versions"):
            tags = rest.tags(entry)
            names = [f"{entry['name']}@{alias}" for alias in aliases.get((entry["name"], str(entry["version"])), ())]
            if "pedigree.keep" in tags:
                names.append(f"{entry['name']}/{entry['version']} (pedigree.keep)")
            if names and "pedigree.digest" in tags:
                found.setdefault(tags["pedigree.digest"], []).extend(names)
    return found


def tag(found: Collection[Mapping[str, Any]], name: str, value: str) -> int:
    """Set a tag on registered versions ({name, version}); gives on how many. Raises StoreError if MLflow refuses."""
    known = [entry for entry in found if entry.get("version")]
    with _client() as client:
        for entry in known:
            body = {"name": entry["name"], "version": entry["version"], "key": name, "value": value}
            _call(client, "POST", "/model-versions/set-tag", json=body)
    return len(known)


def untag(found: Collection[Mapping[str, Any]], name: str) -> None:
    """Take a tag off registered versions ({name, version}). Raises StoreError if MLflow refuses."""
    with _client() as client:
        for entry in found:
            body = {"name": entry["name"], "version": entry["version"], "key": name}
            _call(client, "DELETE", "/model-versions/delete-tag", json=body)


def log_files(run_id: str, files: Mapping[str, str]) -> None:
    """Put small text files (name → content) among a run's artifacts. Raises StoreError if MLflow does not take them."""
    with _client() as client:
        folder = _call(client, "GET", "/runs/get", params={"run_id": run_id})["run"]["info"]["artifact_uri"]
        place = _proxied(folder)
        if place is None:
            raise StoreError(f"the artifacts of MLflow's run {run_id} lie at {folder}, which only its owner can write")
        for name, content in files.items():
            _call(client, "PUT", f"{place}/{quote(name)}", content=content.encode())


def traces(digests: Collection[str]) -> Traces:
    """Everything that MLflow holds of these outputs. Raises StoreError if it does not answer."""
    found = Traces(versions=[version for held in (versions(digests) or {}).values() for version in held])
    with _client() as client:
        experiment = _call(client, "GET", "/experiments/get-by-name", params={"experiment_name": server.EXPERIMENT})
        ids = [experiment["experiment"]["experiment_id"]] if experiment else []
        parents = set()
        for run in _pages(client, "POST", "/runs/search", "runs", experiment_ids=ids, run_view_type="ALL"):
            tags = rest.tags(run["data"])
            if tags.get("pedigree.digest") in digests and PURGED not in tags:
                found.runs.append(run["info"]["run_id"])
                found.folders.append(run["info"]["artifact_uri"])
                parents.add(tags.get("mlflow.parentRunId", ""))
        for run_id in sorted(parents - {""}):  # they show the report of the evaluation
            run = _call(client, "GET", "/runs/get", params={"run_id": run_id})["run"]
            found.folders.append(f"{run['info']['artifact_uri']}/report.html")
        for model in _pages(client, "POST", "/logged-models/search", "models", experiment_ids=ids):
            if rest.tags(model["info"]).get("pedigree.digest") in digests:
                found.models.append(model["info"]["model_id"])
                found.folders.append(model["info"]["artifact_uri"])
    return found


def delete(found: Traces, certificate: str) -> list[str]:
    """Delete registered versions, logged models and all files; the runs stay, with their figures and a tag. Gives the
    addresses that only their owner can delete. Raises StoreError if MLflow refuses."""
    left = []
    with _client() as client:
        for folder in found.folders:
            place = _proxied(folder)
            if place is None:
                left.append(folder)
            else:
                _call(client, "DELETE", place)
        for version in found.versions:
            _call(client, "DELETE", "/model-versions/delete", json={"name": version.name, "version": version.version})
        for model in found.models:
            _call(client, "DELETE", f"/logged-models/{model}")
        for run_id in found.runs:
            body = {"run_id": run_id, "key": PURGED, "value": certificate}
            _call(client, "POST", "/runs/set-tag", json=body)
    return left


def answers() -> bool:
    """Whether a server is named and answers."""
    return rest.base() is not None and server.answers()


def _client() -> httpx.Client:
    """Raises StoreError where no server answers."""
    base = rest.base()
    if base is None or not answers():
        raise StoreError(
            "no MLflow server answers. Start it with `pedigree up`, or name it with MLFLOW_TRACKING_URI, and try again"
        )
    return rest.client(base, TIMEOUT_SECONDS)


def _call(client: httpx.Client, method: str, path: str, **request: Any) -> dict[str, Any]:
    """The answer; empty for what is not there."""
    try:
        answer = client.request(method, path, **request)
        if answer.status_code == 404:
            return {}
        content: dict[str, Any] = answer.raise_for_status().json() if answer.content else {}
    except (httpx.HTTPError, ValueError) as error:
        raise StoreError(f"MLflow did not do {method} {path}: {error}; try again once it is well") from error
    return content


def _pages(client: httpx.Client, method: str, path: str, field: str, **body: Any) -> Iterator[dict[str, Any]]:
    if method == "GET":
        return rest.pages(lambda page: _call(client, method, path, params={**body, **page}), field, PAGE)
    return rest.pages(lambda page: _call(client, method, path, json={**body, **page}), field, POSTED_PAGE)


def _proxied(folder: str) -> str | None:
    """The address at which the server itself reads and writes artifacts; None where they lie elsewhere."""
    parts = urlsplit(folder)
    if parts.scheme != PROXIED:
        return None
    return f"{server.address()}/api/2.0/mlflow-artifacts/artifacts/{quote(parts.path.lstrip('/'))}"
