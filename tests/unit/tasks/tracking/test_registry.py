"""Versions and aliases of a model's content, from a real MLflow server."""

import pytest
from mlflow import MlflowClient

from tasks.tracking import models, registry
from tasks.tracking import server as tracking_server
from tasks.tracking.model_names import MODEL_NAMES
from tests.unit.tasks.tracking.conftest import MlflowServer

DIGESTS = ["a" * 64, "b" * 64, "c" * 64]


def test_names_are_those_that_the_mirror_registers() -> None:
    assert {stage: registered.name for stage, registered in models.REGISTERED.items()} == MODEL_NAMES


def test_every_version_and_alias_of_a_content_is_found(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setattr(registry, "PAGE", 2)  # so that there are several pages
    tracking_server.forget_probes()
    client = MlflowClient(server.url, server.url)
    model = client.create_logged_model("0", name="a-model")
    for name, digests in (("impact-one", [DIGESTS[0], DIGESTS[1], DIGESTS[0]]), ("impact-two", [DIGESTS[0]])):
        client.create_registered_model(name)
        for digest in digests:
            client.create_model_version(
                name, f"models:/{model.model_id}", tags={"pedigree.digest": digest}, model_id=model.model_id,
                await_creation_for=0,
            )  # fmt: skip
    client.set_registered_model_alias("impact-one", "current", "3")
    client.set_registered_model_alias("impact-one", "best", "3")
    client.set_registered_model_alias("impact-two", "promoted", "1")
    found = registry.versions(set(DIGESTS))
    assert found is not None
    assert [(version.name, version.version, version.aliases) for version in found[DIGESTS[0]]] == [
        ("impact-one", "1", []), ("impact-one", "3", ["best", "current"]), ("impact-two", "1", ["promoted"]),
    ]  # fmt: skip
    assert [version.version for version in found[DIGESTS[1]]] == ["2"]
    assert DIGESTS[2] not in found


def test_without_a_server_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert registry.versions({DIGESTS[0]}) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracking_server.forget_probes()
    assert registry.versions({DIGESTS[0]}) is None
