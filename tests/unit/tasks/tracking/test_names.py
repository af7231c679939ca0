"""Names in MLflow's registry, on a real server, lead to the output in the store."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.errors import NothingFound
from flows.targets import resolve
from tasks.lineage.artifact import Artifact
from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.store import Store
from tasks.tracking import server as address_book


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    address_book.forget_probes()


def put(digest: str, key: str) -> Artifact:
    output = Output(kind="model", digest=digest * 64, files=[StoredFile(path="a", size=1, sha256="a" * 64)])
    record = Record(
        key=key * 64, stage="ppo", inputs={}, config={}, code={}, code_digest="b" * 64, versions={}, output=output,
        wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={}, created="2026",
    )  # fmt: skip
    Store().write_record(record)
    return record.artifact


def test_aliases_versions_and_runs_lead_to_what_they_stand_for(server: Any) -> None:
    client = MlflowClient(server.url, server.url)
    first, twin, second = put("1", "a"), put("1", "b"), put("2", "c")
    client.create_registered_model("pedigree-aligned")
    run = client.create_run("0", tags={"pedigree.digest": twin.digest, "pedigree.key": twin.key})
    for made in (first, second, Artifact(kind="model", digest="9" * 64, key="9" * 64)):
        tags = {"pedigree.digest": made.digest, "pedigree.key": made.key}
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version("pedigree-aligned", source, run.info.run_id, tags=tags, await_creation_for=0)
    client.set_registered_model_alias("pedigree-aligned", "current", "2")
    client.set_registered_model_alias("pedigree-aligned", "best", "1")
    for name, expected in {
        "pedigree-aligned@current": second,
        "aligned@best": first,
        "pedigree-aligned/1": first,
        "models:/pedigree-aligned/2": second,
        run.info.run_id: twin,
    }.items():
        assert resolve(name).artifact == expected, name
    for name in ("pedigree-aligned@nobody", "pedigree-aligned/77", "pedigree-nothing/1"):
        with pytest.raises(NothingFound, match=r"no '.*' that Pedigree made"):
            resolve(name)
    with pytest.raises(NothingFound, match="this store has no record"):
        resolve("pedigree-aligned/3")
