"""Trained models in MLflow: a logged model for each content, a registered version for each logged model."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient

from tasks.lineage.record import Record
from tasks.tracking.model_names import MODEL_NAMES
from tasks.tracking.pending import Entry
from tasks.tracking.why_tags import declared_tags

ALIAS = "current"  # what the last finished run made or reused; MLflow keeps the alias "latest" for itself
WEIGHTS_LIMIT_BYTES = 100_000_000  # larger weights stay in the store, and MLflow names where


class Registered(NamedTuple):
    """How a stage's model is called in the registry."""

    name: str
    description: str


REGISTERED = {
    "pretrain": Registered(MODEL_NAMES["pretrain"], "Language models trained on the corpus by next-token prediction."),
    "finetune": Registered(
        MODEL_NAMES["finetune"], "Pretrained models fine-tuned on prompts and human-written answers."
    ),
    "reward": Registered(MODEL_NAMES["reward"], "Reward models: one number for how well an answer suits its prompt."),
    "ppo": Registered(MODEL_NAMES["ppo"], "Fine-tuned models trained further against a reward model (PPO)."),
    "adopt_model": Registered(
        MODEL_NAMES["adopt_model"], "Models made elsewhere; where, says each version's tag `pedigree.declared`."
    ),
}


def find(client: MlflowClient, experiment: str, digest: str) -> Any | None:
    """The ready logged model with this content, or None."""
    found = client.search_logged_models([experiment], filter_string=f"tags.`pedigree.digest` = '{digest}'")
    return next((model for model in found if str(model.status) == "READY"), None)


def publish(client: MlflowClient, experiment: str, entry: Entry) -> Any | None:
    """The logged model and registered version of what the stage made, added where missing; None for other stages.

    The same content under another key is the same model: it gets no second version.
    """
    if entry.name not in REGISTERED or entry.record is None or entry.output is None:
        return None
    digest = entry.record["output"]["digest"]
    folder = Path(entry.output) / "model"
    model = find(client, experiment, digest)
    if model is None and folder.is_dir():
        model = _log(client, experiment, entry, folder)
    if model is not None:
        _register(client, entry, model, digest)
    return model


def _log(client: MlflowClient, experiment: str, entry: Entry, folder: Path) -> Any:
    assert entry.record is not None
    registered, digest = REGISTERED[entry.name], entry.record["output"]["digest"]
    model = client.create_logged_model(
        experiment,
        name=f"{registered.name}-{digest[:12]}",
        source_run_id=entry.run_id,
        tags=_tags(entry, digest),
        params={name: value[:500] for name, value in entry.parameters.items()},
        model_type="reward_model" if entry.name == "reward" else "causal_lm",
    )
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        if path.stat().st_size > WEIGHTS_LIMIT_BYTES:
            _log_pointer(client, model.model_id, path, digest)
        else:
            inside = path.parent.relative_to(folder).as_posix()
            client.log_model_artifact(model.model_id, str(path), None if inside == "." else inside)
    return client.finalize_logged_model(model.model_id, "READY")


def _log_pointer(client: MlflowClient, model_id: str, weights: Path, digest: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pointer = Path(folder) / f"{weights.name}.where.txt"
        pointer.write_text(
            f"{weights.stat().st_size} bytes, too many to copy here. They are in Pedigree's store:\n"
            f"objects/{digest}/model/{weights.name}\n"
        )
        client.log_model_artifact(model_id, str(pointer))


def _register(client: MlflowClient, entry: Entry, model: Any, digest: str) -> None:
    name, description = REGISTERED[entry.name]
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=description)
    versions = client.search_model_versions(f"name = '{name}' and tags.`pedigree.digest` = '{digest}'")
    if versions:
        version = versions[0].version
    else:
        version = client.create_model_version(
            name,
            source=f"models:/{model.model_id}",
            run_id=entry.run_id,
            tags=_tags(entry, digest),
            model_id=model.model_id,
            await_creation_for=0,
        ).version
    client.set_registered_model_alias(name, ALIAS, str(version))


def _tags(entry: Entry, digest: str) -> dict[str, str]:
    assert entry.record is not None
    return {
        **declared_tags(Record.model_validate(entry.record)),
        "pedigree.digest": digest,
        "pedigree.key": entry.key,
        "pedigree.stage": entry.name,
        "pedigree.run": entry.run_id or "",
        "pedigree.flow_run_id": entry.flow_run_id,
    }
