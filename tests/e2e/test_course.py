"""The whole course through its deployment, and what a user then looks at in Prefect and in MLflow."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

DATA_STAGES = ("collect", "clean", "deduplicate", "pair", "decontaminate", "tokenize")
STAGES = ("snapshot", *DATA_STAGES, "pretrain", "finetune", "rank", "reward", "ppo", "evaluate")
COMPARED_WITH_SFT = ("reward", "gold", "gold_greedy", "length", "repetition")
FIGURES = {
    "pretrain": ("eval/bits_per_byte", "eval/ngram_bits_per_byte"),
    "finetune": ("eval/chrf", "eval/chrf_pretrained"),
    "reward": (
        "eval/pair_accuracy_model_model",
        "eval/pair_accuracy_human_model",
        "eval/pair_accuracy_length_only",
        "parameters",
        "policy_parameters",
    ),
    "ppo": ("eval/kl", *(f"eval/{figure}{suffix}" for figure in COMPARED_WITH_SFT for suffix in ("", "_sft"))),
}
MODELS = ("pedigree-pretrained", "pedigree-finetuned", "pedigree-reward", "pedigree-aligned")


def flow_of(finished: Any) -> dict[str, Any]:
    flow: dict[str, Any] = finished.json["flows"]["train"]
    return flow


def test_every_stage_ran_and_left_an_output(trained: Any) -> None:
    flow = flow_of(trained)
    assert flow["state"] == "completed"
    assert set(flow["stages"]) == set(STAGES)
    for name, stage in flow["stages"].items():
        assert stage["state"] in ("ran", "cached"), name
        assert len(stage["output"]) == 64
        assert stage["mlflow_run_id"]


def test_the_figures_are_there_by_name(trained: Any) -> None:
    stages = flow_of(trained)["stages"]
    for stage, names in FIGURES.items():
        missing = set(names) - stages[stage]["metrics"].keys()
        assert not missing, f"{stage} lacks {missing}"
    for stage in DATA_STAGES:
        metrics = stages[stage]["metrics"]
        assert metrics["documents_in"] == metrics["documents_kept"] + metrics["documents_dropped"], stage
    assert stages["reward"]["metrics"]["parameters"] < stages["reward"]["metrics"]["policy_parameters"]


def test_progress_went_to_standard_error_and_the_answer_to_standard_output(trained: Any) -> None:
    assert trained.out.startswith("{")
    assert "pretrain: ran in" in trained.err
    assert "http://127.0.0.1:" in trained.err


def test_a_taken_port_is_no_obstacle(pedigree: Any, trained: Any, taken_port: int) -> None:
    assert f":{taken_port}/" not in pedigree.servers()["prefect"]


def test_the_second_run_finds_everything_cached(again: Any, trained: Any) -> None:
    states = {name: stage["state"] for name, stage in flow_of(again)["stages"].items()}
    assert set(states.values()) == {"cached"}, states
    outputs = [{name: stage["output"] for name, stage in flow_of(run)["stages"].items()} for run in (trained, again)]
    assert outputs[0] == outputs[1]
    assert flow_of(again)["seconds"] < flow_of(trained)["seconds"]


def test_prefect_shows_the_runs_and_their_tasks(pedigree: Any, trained: Any, again: Any) -> None:
    for finished, states in ((trained, {"Completed", "Cached"}), (again, {"Cached"})):
        run_id = flow_of(finished)["prefect_flow_run_id"]
        run = pedigree.prefect("GET", f"/flow_runs/{run_id}")
        assert run["state"]["name"] == "Completed"
        assert run["name"].startswith("train test ")
        assert run["deployment_id"]
        tasks = pedigree.prefect("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
        by_stage = {task["name"].split("-")[0]: task["state_name"] for task in tasks}
        assert set(by_stage) == set(STAGES)
        assert set(by_stage.values()) == states, by_stage
        logs = pedigree.prefect("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": 5})
        assert logs, "the run's logs are in the UI"


def test_the_form_in_prefect_explains_every_section(pedigree: Any, trained: Any) -> None:
    deployment = pedigree.prefect("GET", "/deployments/name/train/demo")
    schema = deployment["parameter_openapi_schema"]
    assert set(schema["properties"]) == {"adopted", "classifiers", *STAGES, "mix", "resources"}
    for name, section in schema["definitions"].items():
        if name.endswith("Config"):
            assert section.get("description"), f"{name} says what it is"
    assert schema["properties"]["pretrain"]["default"], "the form shows the demo preset"
    retrain = pedigree.prefect("GET", "/deployments/name/retrain/demo")
    assert [schedule["active"] for schedule in retrain["schedules"]] == [False]


def test_mlflow_shows_a_parent_and_a_child_per_stage(pedigree: Any, trained: Any) -> None:
    flow = flow_of(trained)
    parent = mlflow_run(pedigree, flow["mlflow_run_id"])
    assert parent["info"]["status"] == "FINISHED"
    assert flow["prefect_flow_run_id"] in json.dumps(parent["data"]["tags"]), "the way to Prefect's page"
    for name, stage in flow["stages"].items():
        run = mlflow_run(pedigree, stage["mlflow_run_id"])
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        assert tags["mlflow.parentRunId"] == flow["mlflow_run_id"], name
        assert run["info"]["status"] == "FINISHED"
        if name != "snapshot":
            inputs = run["inputs"]
            assert inputs.get("dataset_inputs") or inputs.get("model_inputs"), f"{name} names what it consumed"
        artifacts = pedigree.mlflow("GET", "/artifacts/list", params={"run_id": stage["mlflow_run_id"]})
        assert "record.json" in [file["path"] for file in artifacts.get("files", [])], name


def test_mlflow_has_parameters_curves_and_models(pedigree: Any, trained: Any) -> None:
    stages = flow_of(trained)["stages"]
    run = mlflow_run(pedigree, stages["pretrain"]["mlflow_run_id"])
    assert "steps" in {parameter["key"] for parameter in run["data"]["params"]}
    shown = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert shown["eval/bits_per_byte"] == pytest.approx(stages["pretrain"]["metrics"]["eval/bits_per_byte"])
    curves = [key for key in shown if key.startswith("train/")]
    assert curves
    history = pedigree.mlflow(
        "GET", "/metrics/get-history", params={"run_id": run["info"]["run_id"], "metric_key": curves[0]}
    )
    assert len(history["metrics"]) > 1
    for model in MODELS:
        found = pedigree.mlflow("GET", "/registered-models/get", params={"name": model})
        assert found["registered_model"]["name"] == model


def mlflow_run(pedigree: Any, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = pedigree.mlflow("GET", "/runs/get", params={"run_id": run_id})["run"]
    return run


def test_lineage_of_the_aligned_model_reaches_the_documents(pedigree: Any, trained: Any) -> None:
    finished = pedigree("lineage", "pedigree-aligned", "--json")
    assert finished.code == 0, finished.err
    nodes = {node["stage"]: node for node in finished.json["nodes"]}
    assert set(nodes) == set(STAGES) - {"evaluate"}
    identifiers = {node["id"] for node in nodes.values()}
    assert all({source, target} <= identifiers for source, target in finished.json["edges"])
    corpus = pedigree.home / "objects" / nodes["deduplicate"]["digest"]
    assert (corpus / "ledger.parquet").is_file(), "down to the single document"
    assert nodes["deduplicate"]["documents"]["documents_kept"] > 0
    assert nodes["pretrain"]["config"] and nodes["pretrain"]["code"]


def test_status_says_the_same(pedigree: Any, again: Any) -> None:
    finished = pedigree("status", "--json")
    assert finished.code == 0
    assert finished.json["flows"]["train"]["prefect_flow_run_id"] == flow_of(again)["prefect_flow_run_id"]
    assert all(address.startswith("http://127.0.0.1:") for address in finished.json["servers"].values())
    assert "train: completed" in pedigree("status").out
