"""What the course told OpenLineage, in its file and on a server; and a model of the course adopted back."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tests.e2e.test_course import STAGES, flow_of
from tests.openlineage_receiver import Receiver

pytestmark = pytest.mark.e2e

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "openlineage.json"
Event = dict[str, Any]


def said(home: Path) -> list[Event]:
    return [json.loads(line) for line in (home / "openlineage" / "events.jsonl").read_text().splitlines()]


def of_run(events: list[Event], run_id: str) -> dict[str, list[Event]]:
    """The events of a flow run's stages, by stage."""
    found: dict[str, list[Event]] = {}
    for event in events:
        if event["run"]["facets"].get("parent", {}).get("run") == {"runId": run_id}:
            found.setdefault(event["job"]["name"], []).append(event)
    return found


def test_every_event_is_as_the_schema_says(pedigree: Any, again: Any) -> None:
    checker = Draft202012Validator(json.loads(SCHEMA.read_text()), format_checker=FormatChecker())
    for event in said(pedigree.home):
        checker.validate(event)


@pytest.mark.parametrize("which", ["trained", "again"])
def test_every_stage_began_and_completed(pedigree: Any, which: str, request: pytest.FixtureRequest) -> None:
    flow = flow_of(request.getfixturevalue(which))
    run_id = flow["prefect_flow_run_id"]
    events = of_run(said(pedigree.home), run_id)
    tasks = pedigree.prefect("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
    ids = {task["name"].split("-")[0]: task["id"] for task in tasks}
    assert set(events) == set(STAGES)
    for stage, (begun, ended) in events.items():
        assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
        assert begun["run"]["runId"] == ended["run"]["runId"] == ids[stage]
        result = ended["run"]["facets"]["pedigree_result"]
        assert result["state"] == flow["stages"][stage]["state"]
        assert result["digest"] == ended["outputs"][0]["facets"]["version"]["datasetVersion"]
        assert result["digest"] == flow["stages"][stage]["output"]
    made = {ended["outputs"][0]["name"] for _, ended in events.values()}
    taken = {dataset["name"] for begun, _ in events.values() for dataset in begun["inputs"]}
    assert taken - made == {"installed packages"}, "the graph hangs together"
    kept = events["collect"][1]["outputs"][0]
    assert kept["outputFacets"]["outputStatistics"]["rowCount"] > 0
    assert "doc_id" in [column["name"] for column in kept["facets"]["schema"]["fields"]]


def test_the_killed_course_is_told_of_as_aborted(pedigree: Any, trained: Any) -> None:
    aborted = {event["job"]["name"] for event in said(pedigree.home) if event["eventType"] == "ABORT"}
    assert {"pretrain", "train"} <= aborted


def test_the_server_has_what_the_file_has(pedigree: Any, again: Any, receiver: Receiver) -> None:
    assert pedigree("sync").code == 0
    assert not list((pedigree.home / "openlineage" / "waiting").iterdir())
    written = [json.dumps(event, sort_keys=True) for event in said(pedigree.home)]
    received = [json.dumps(event, sort_keys=True) for event in receiver.events]
    assert list(dict.fromkeys(received)) == written, "in the same order, some perhaps twice"


def test_a_model_is_adopted_registered_and_taken_up(pedigree: Any, trained: Any) -> None:
    nodes = pedigree("lineage", "pretrain", "--json").json["nodes"]  # the latest, since others may have been purged
    digest = next(node["digest"] for node in nodes if node["relation"] == "target")
    declared = ("--origin", "urn:another-lab:model", "--license", "MIT", "--because", "made by the same course")
    taken = pedigree("adopt", "model", str(pedigree.home / "objects" / digest), *declared, "--json")
    assert taken.code == 0, taken.err
    adopted = taken.json["artifact"]["digest"]
    versions = pedigree.mlflow("GET", "/model-versions/search", params={"filter": "name='pedigree-adopted'"})
    tags = {tag["key"]: tag["value"] for tag in versions["model_versions"][0]["tags"]}
    assert tags["pedigree.digest"] == adopted
    assert "declared, not made here: from urn:another-lab:model" in tags["pedigree.declared"]
    planned = pedigree("why", "align", "--preset", "test", "--set", f"start.pretrained={adopted}", "--json")
    assert planned.code == 0, planned.err
    finetune = next(stage for stage in planned.json["stages"] if stage["stage"] == "finetune")
    assert "urn:another-lab:model" in finetune["declared"]["model"]
