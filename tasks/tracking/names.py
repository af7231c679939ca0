"""What MLflow's registry and runs stand for in the store: the digest and key that the mirror wrote onto them."""

from typing import Any, NamedTuple

from tasks.tracking import rest

SECONDS = 10.0


class MlflowAway(Exception):
    """The server was not named, does not answer, or failed; the text says which."""


class Made(NamedTuple):
    """An output in the store, as MLflow's tags name it. key: of the record that made it, where it is known."""

    digest: str
    key: str | None


def by_alias(name: str, alias: str) -> Made | None:
    """What the model version with this alias holds; None if there is no such model or alias."""
    answer = _get("registered-models/alias", name=name, alias=alias)
    return _made(answer["model_version"].get("tags", ())) if answer else None


def by_version(name: str, version: str) -> Made | None:
    """What this version of a registered model holds; None if there is no such model or version."""
    answer = _get("model-versions/get", name=name, version=version)
    return _made(answer["model_version"].get("tags", ())) if answer else None


def by_run(run_id: str) -> Made | str | None:
    """What a stage's run made; of a flow's run the flow run's id in Prefect; None if there is no such run of ours."""
    answer = _get("runs/get", run_id=run_id)
    if not answer:
        return None
    tags = answer["run"]["data"].get("tags", [])
    flow = next((tag["value"] for tag in tags if tag["key"] == "pedigree.flow_run_id"), None)
    is_flow = any(tag == {"key": "pedigree.role", "value": "flow"} for tag in tags)
    return flow if is_flow else _made(tags)


def _made(tags: Any) -> Made | None:
    values = rest.tags({"tags": tags})
    digest = values.get("pedigree.digest")
    return Made(digest, values.get("pedigree.key")) if digest else None


def _get(path: str, **question: str) -> dict[str, Any] | None:
    """The decoded answer; None where MLflow knows no such thing. Raises MlflowAway."""
    base = rest.base()
    if base is None:
        raise MlflowAway("no MLflow server is known")
    import httpx

    try:
        with rest.client(base, SECONDS) as client:
            answer = client.get(f"/{path}", params=question)
        if answer.status_code in (400, 404):  # a name that cannot exist, or one that does not
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
    except (httpx.HTTPError, ValueError) as error:
        raise MlflowAway(f"the MLflow server at {base} did not answer ({error})") from error
