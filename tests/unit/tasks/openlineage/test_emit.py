"""What is said of a flow and its stages, checked against docs/schemas/openlineage.json, a part of the published one."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources
from tasks.lineage.errors import DataError
from tasks.lineage.execute import Context, Outcome, execute
from tasks.lineage.recipe import Use
from tasks.openlineage import emit, log
from tasks.openlineage.emit import StageLineage
from tasks.stage import Stage, StageConfig, StageRun, stage

SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "schemas" / "openlineage.json").read_text())
FLOW = ("train", "11111111-1111-4111-8111-111111111111")


class GrindConfig(StageConfig):
    grade: int = 3


@stage(output="grain")
def reap(run: StageRun, config: StageConfig) -> None:
    """Cut what has grown.

    This is not part of the description.
    """
    pq.write_table(pa.table({"ear": ["wheat", "rye"], "weight": [1, 2]}), run.output / "grain.parquet")
    (run.output / "ledger.parquet").write_bytes(b"no table at all, and larger than the one beside it" * 100)
    run.log_metrics({"documents_in": 3, "documents_kept": 2, "documents_dropped": 1, "dropped/mouldy": 1})


@stage(output="flour")
def grind(run: StageRun, grain: Artifact, config: GrindConfig) -> None:
    if config.grade == 0:
        raise DataError("<b>the mill</b> is broken\nand nobody mends it")
    (run.output / "flour").write_text("flour")
    run.log_metrics({"loss": float("nan"), "best": float("inf"), "dust": 0.5})


def events() -> list[dict[str, Any]]:
    """Every event so far, each valid."""
    found = [json.loads(line) for line in log.path().read_text().splitlines()]
    checker = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
    for event in found:
        assert not [f"{fault.json_path}: {fault.message}" for fault in checker.iter_errors(event)]
    return found


def told(made: Stage, config: StageConfig | None = None, **inputs: Artifact) -> tuple[Outcome, str]:
    """Runs a stage outside Prefect, and says so as the decorator does inside."""
    use, run_id = Use(made.recipe, inputs, config or made.config_type()), str(uuid.uuid4())
    lineage = StageLineage(use, run_id, FLOW, links={"flow_run_url": "http://127.0.0.1/flow"})
    lineage.started()
    try:
        outcome = execute(use, inputs, Resources(), Context(task_run_id=run_id))
    except DataError as error:
        lineage.failed(error, final=True)
        raise
    lineage.finished(outcome, "0a1b")
    return outcome, run_id


def test_a_stage_says_what_it_takes_and_makes() -> None:
    grain, _ = told(reap)
    flour, run_id = told(grind, grain=grain.artifact)
    begun, ended = events()[2:]
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    for event in (begun, ended):
        assert event["run"]["runId"] == run_id
        assert (event["job"]["namespace"], event["job"]["name"]) == ("pedigree", "grind")
        assert event["run"]["facets"]["parent"]["run"] == {"runId": FLOW[1]}
        assert event["run"]["facets"]["parent"]["root"]["job"] == {"namespace": "pedigree", "name": "train"}
        assert event["run"]["facets"]["pedigree_stage"]["config"] == {"grade": 3}
        (given,) = event["inputs"]
        assert given["name"] == "reap.grain"
        assert given["facets"]["version"]["datasetVersion"] == grain.artifact.digest
        assert given["inputFacets"]["inputStatistics"]["rowCount"] == 2
    assert begun["outputs"] == []
    (made,) = ended["outputs"]
    assert made["name"] == "grind.flour"
    assert made["facets"]["version"]["datasetVersion"] == flour.artifact.digest
    assert made["outputFacets"]["outputStatistics"]["size"] == len("flour")
    result = ended["run"]["facets"]["pedigree_result"]
    assert result["state"] == "ran" and result["metrics"] == {"dust": 0.5}, "JSON has no NaN"
    assert begun["eventTime"] <= ended["eventTime"]


def test_documents_columns_and_code_are_told() -> None:
    told(reap)
    ended = events()[-1]
    (made,) = ended["outputs"]
    assert [(field["name"], field["type"]) for field in made["facets"]["schema"]["fields"]] == [
        ("ear", "string"), ("weight", "int64"),
    ]  # fmt: skip
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 2
    counts = made["outputFacets"]["pedigree_documents"]
    assert (counts["documents_in"], counts["documents_dropped"], counts["dropped"]) == (3, 1, {"mouldy": 1})
    facets = ended["job"]["facets"]
    assert facets["documentation"]["description"] == "Cut what has grown."
    assert facets["sourceCodeLocation"]["url"].endswith("test_emit.py")


def test_a_hit_is_told_with_who_did_the_work() -> None:
    _, did = told(reap)
    _, found = told(reap)
    result = events()[-1]["run"]["facets"]["pedigree_result"]
    assert events()[-1]["run"]["runId"] == found
    assert result["state"] == "cached" and result["made"]["run"] == did and result["why"] == []


def test_failures_interruptions_and_attempts_differ() -> None:
    grain, _ = told(reap)
    with pytest.raises(DataError):
        told(grind, GrindConfig(grade=0), grain=grain.artifact)
    failed = events()[-1]
    assert failed["eventType"] == "FAIL"
    assert failed["run"]["facets"]["errorMessage"]["message"] == "<b>the mill</b> is broken\nand nobody mends it"
    assert "DataError" in failed["run"]["facets"]["errorMessage"]["stackTrace"]
    lineage = StageLineage(Use(reap.recipe, {}, StageConfig()), str(uuid.uuid4()), FLOW)
    lineage.failed(OSError("come back later"), final=False)
    lineage.started(again=True)
    lineage.failed(KeyboardInterrupt(), final=True)
    assert [event["eventType"] for event in events()[-3:]] == ["OTHER", "RUNNING", "ABORT"]


def test_flows_are_told_and_say_how_they_were_set() -> None:
    emit.flow_started("train", FLOW[1], {"pretrain": {"steps": 2}})
    emit.flow_ended("train", FLOW[1])
    emit.flow_started("train", str(uuid.uuid4()), {})
    emit.flow_ended("train", str(uuid.uuid4()), SystemExit("stopped"))
    begun, ended, _, stopped = events()
    assert begun["run"]["facets"]["pedigree_flow"]["parameters"] == {"pretrain": {"steps": 2}}
    assert begun["job"]["facets"]["jobType"]["jobType"] == "DAG"
    assert (ended["eventType"], stopped["eventType"]) == ("COMPLETE", "ABORT")


KILLED = """
import os, signal
from tests.unit.tasks.openlineage.test_emit import FLOW, StageConfig, StageLineage, Use, reap
StageLineage(Use(reap.recipe, {}, StageConfig()), "22222222-2222-4222-8222-222222222222", FLOW).started()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_told_of_once() -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == -9
    StageLineage(Use(reap.recipe, {}, StageConfig()), str(uuid.uuid4()), FLOW).started()  # this process lives
    emit.sync()
    emit.sync()
    kinds = [event["eventType"] for event in events()]
    assert kinds == ["START", "START", "ABORT"]
    aborted = events()[-1]
    assert aborted["run"]["runId"].startswith("2222") and aborted["job"]["name"] == "reap"
    assert "interrupted" in aborted["run"]["facets"]["errorMessage"]["message"]


def test_nothing_that_goes_wrong_here_harms_the_work(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "openlineage").write_text("a file where the folder should be")
    outcome, _ = told(reap)
    assert outcome.artifact.path.is_dir()


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    told(reap)
    assert not log.folder().exists()


def test_the_namespace_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "our lab")
    told(reap)
    assert {event["job"]["namespace"] for event in events()} == {"our lab"}
    assert events()[-1]["outputs"][0]["namespace"] == "our lab"
