"""Which registered versions a model has, asked of MLflow's REST API: importing mlflow takes longer than the answer.

Versions are told by the tag `pedigree.digest` that the mirror gives them (models.py), under whatever name.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import httpx

from tasks.tracking import server

MODEL_NAMES = {
    "pretrain": "pedigree-pretrained",
    "finetune": "pedigree-finetuned",
    "reward": "pedigree-reward",
    "ppo": "pedigree-aligned",
}
"""Stage → the name that its models are registered by (models.REGISTERED, which needs mlflow)."""

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
    base = server.address()
    if base is None or not base.startswith(("http://", "https://")) or not server.answers():
        return None
    try:
        with httpx.Client(base_url=f"{base}/api/2.0/mlflow", timeout=TIMEOUT_SECONDS) as client:
            aliases: dict[tuple[str, str], list[str]] = {}
            for model in _pages(client, "registered-models/search", "registered_models"):
                for alias in model.get("aliases", ()):
                    aliases.setdefault((model["name"], str(alias["version"])), []).append(alias["alias"])
            return _by_digest(client, digests, aliases)
    except (httpx.HTTPError, ValueError, KeyError):
        server.distrust()
        return None


def _by_digest(
    client: httpx.Client, digests: Collection[str], aliases: dict[tuple[str, str], list[str]]
) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for entry in _pages(client, "model-versions/search", "model_versions"):
        tags = {tag["key"]: tag.get("value", "") for tag in entry.get("tags", ())}
        digest = tags.get("pedigree.digest")
        if digest in digests and digest is not None:
            name, number = entry["name"], str(entry["version"])
            found.setdefault(digest, []).append(
                Version(name, number, sorted(aliases.get((name, number), ())), entry.get("run_id") or None)
            )
    for held in found.values():
        held.sort(key=lambda version: (version.name, int(version.version or 0)))
    return found


def _pages(client: httpx.Client, path: str, field: str) -> Iterator[dict[str, Any]]:
    token = ""
    while True:
        answer = client.get(f"/{path}", params={"max_results": PAGE, **({"page_token": token} if token else {})})
        content = answer.raise_for_status().json()
        yield from content.get(field, ())
        token = content.get("next_page_token") or ""
        if not token:
            return
