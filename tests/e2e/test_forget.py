"""A document is forgotten through the deployment; MLflow is asked what it was told; then what held it is purged."""

from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.e2e

MODELS = ("pedigree-pretrained", "pedigree-finetuned", "pedigree-reward", "pedigree-aligned")


@pytest.fixture(scope="module")
def victim(pedigree: Any, trained: Any) -> str:
    """A document that was trained on."""
    tokens = pedigree("status", "--json").json["flows"]["train"]["stages"]["tokenize"]["output"]
    index = pq.read_table(pedigree.home / "objects" / tokens / "index.parquet", filters=[("split", "=", "train")])
    return str(index["doc_id"][7].as_py())


@pytest.fixture(scope="module")
def before(pedigree: Any, victim: str) -> dict[str, Any]:
    plan: dict[str, Any] = pedigree("forget", "--doc", victim, "--dry-run", "--json").json
    return plan


@pytest.fixture(scope="module")
def certificate(pedigree: Any, victim: str, before: dict[str, Any]) -> dict[str, Any]:
    finished = pedigree("forget", "--doc", victim, "--json")
    assert finished.code == 0, f"{finished.err}\n{pedigree.worker_log()[-8000:]}"
    given: dict[str, Any] = finished.json
    return given


def versions(pedigree: Any, name: str) -> dict[str, dict[str, str]]:
    """Version → its tags."""
    found = pedigree.mlflow("GET", "/model-versions/search", params={"filter": f"name='{name}'"})
    return {
        entry["version"]: {tag["key"]: tag["value"] for tag in entry.get("tags", ())}
        for entry in found.get("model_versions", ())
    }


def test_every_version_that_learnt_from_it_is_tagged_and_has_a_successor(
    pedigree: Any, before: dict[str, Any], certificate: dict[str, Any]
) -> None:
    assert certificate["registry"] == "asked"
    assert {model["name"] for model in certificate["models"]} == set(MODELS)
    assert len(certificate["models"]) >= len(before["models"]) == 4
    for model in certificate["models"]:
        assert model["tagged"], model
        tags = versions(pedigree, model["name"])
        assert tags[model["version"]]["pedigree.tainted"] == certificate["id"]
        clean = tags[model["version"]]["pedigree.replaced_by"].rpartition(" ")[2]
        assert model["replaced_by"] == f"{model['name']} version {clean}"
        assert "pedigree.tainted" not in tags[clean]


def test_the_new_data_hold_nothing_of_it(certificate: dict[str, Any], victim: str) -> None:
    assert certificate["check"]["clean"]
    assert victim in {document["doc_id"] for document in certificate["removed"]}
    assert max(entry["decoded"] for entry in certificate["check"]["searched"]) > 100


def test_diff_says_that_it_was_forgotten(pedigree: Any, trained: Any, certificate: dict[str, Any], victim: str) -> None:
    earlier = trained.json["flows"]["train"]["stages"]["ppo"]["output"]
    found = pedigree("diff", earlier, "pedigree-aligned", "--json").json
    why = {entry["doc_id"]: (entry["change"], entry["stage"], entry["reason"]) for entry in found["documents"]}
    assert why[victim] == ("removed", "collect", "forgotten")
    assert (found["first_cause"]["kind"], found["first_cause"]["stage"]) == ("stage", "exclude")
    assert found["config"] == found["code"] == found["dependencies"] == []
    assert any(row["stage"] == "ppo" and row["apart"] is not None for row in found["metrics"])


def test_the_certificate_is_on_the_run_in_mlflow_and_in_prefect(pedigree: Any, certificate: dict[str, Any]) -> None:
    run_id = certificate["mlflow_run_id"]
    files = pedigree.mlflow("GET", "/artifacts/list", params={"run_id": run_id})["files"]
    assert {"certificate.json", "certificate.html"} <= {file["path"] for file in files}
    run = pedigree.mlflow("GET", "/runs/get", params={"run_id": run_id})["run"]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert (tags["pedigree.clean"], tags["pedigree.certificate"]) == ("true", certificate["id"])
    flow_run = pedigree.prefect("GET", f"/flow_runs/{certificate['flow_run_id']}")
    assert flow_run["state"]["type"] == "COMPLETED"
    pages = pedigree.prefect("POST", "/artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run["id"]]}}})
    assert "deletion-certificate" in {page["key"] for page in pages}


def test_purged_neither_store_nor_mlflow_has_the_old_models(pedigree: Any, certificate: dict[str, Any]) -> None:
    old = {output["digest"] for output in certificate["tainted"] if output["stored"]}
    assert pedigree("forget", "--purge").code == 2, "nobody is there to agree"
    purged = pedigree("forget", "--purge", "--yes", "--json")
    assert purged.code == 0, purged.err
    gone = purged.json["purged"]
    assert old <= {entry["name"] for entry in gone["objects"]}
    assert gone["left"] == []
    assert pedigree("verify", "--deep", "--json").json["missing"] == []
    assert pedigree("verify", "--deep").code == 0
    for model in certificate["models"]:
        assert model["version"] not in versions(pedigree, model["name"])
    for run_id in gone["mlflow"]["runs"]:
        assert pedigree.mlflow("GET", "/artifacts/list", params={"run_id": run_id}).get("files", []) == []
    assert "Nothing is left to purge" in pedigree("forget", "--purge").out
    assert pedigree("gc", "--dry-run", "--json").code == 0
