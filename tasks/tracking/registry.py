"""Which registered versions a model has, asked of MLflow's REST API.

Versions are told by the tag `pedigree.digest` that the mirror gives them (models.py), under whatever name.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.lineage.headers import Header
from tasks.tracking import rest, server
from tasks.tracking.model_names import MODEL_NAMES

if TYPE_CHECKING:
    import httpx

PAGE = 1000
TIMEOUT_SECONDS = 10.0


class Version(NamedTuple):
    """One version of a registered model; version None: it has none."""

    name: str
    version: str | None
    aliases: list[str]
    run_id: str | None


def versions(digests: Collection[str]) -> dict[str, list[Version]] | None:
    """By digest of a model, its registered versions, by name and number; None where no server answers."""
    base = rest.base()
    if base is None or not server.answers():
        return None
    import httpx

    try:
        with rest.client(base, TIMEOUT_SECONDS) as client:
            aliases = aliases_of(_pages(client, "registered-models/search", "registered_models"))
            return _by_digest(client, digests, aliases)
    except (httpx.HTTPError, ValueError, KeyError):
        server.distrust()
        return None


def versions_of(models: Sequence[Header]) -> tuple[list[list[Version]], str]:
    """For each model its versions, or one without a number where there is none; and whether the registry was asked."""
    if not models:
        return [], "not asked: no model is concerned"
    known = versions({header.digest for header in models})
    found = [
        (known or {}).get(header.digest)
        or [Version(MODEL_NAMES.get(header.stage, header.stage), None, [], header.mlflow_run_id)]
        for header in models
    ]
    return found, "not asked: no MLflow server answers" if known is None else "asked"


def aliases_of(models: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """By name and version, the aliases of registered models as MLflow gives them."""
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for alias in model.get("aliases", ()):
            aliases.setdefault((model["name"], str(alias["version"])), []).append(alias["alias"])
    return aliases


def _by_digest(
    client: "httpx.Client", digests: Collection[str], aliases: dict[tuple[str, str], list[str]]
) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for entry in _pages(client, "model-versions/search", "model_versions"):
        digest = rest.tags(entry).get("pedigree.digest")
        if digest in digests and digest is not None:
            name, number = entry["name"], str(entry["version"])
            found.setdefault(digest, []).append(
                Version(name, number, sorted(aliases.get((name, number), ())), entry.get("run_id") or None)
            )
    for held in found.values():
        held.sort(key=lambda version: (version.name, int(version.version or 0)))
    return found


def _pages(client: "httpx.Client", path: str, field: str) -> Iterator[dict[str, Any]]:
    return rest.pages(lambda page: client.get(f"/{path}", params=page).raise_for_status().json(), field, PAGE)
