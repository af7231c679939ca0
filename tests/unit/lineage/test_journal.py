"""The journal: what runs and what ran, told truthfully whatever happened to the process that wrote it."""

import json
import os
from pathlib import Path

import pytest

from tasks.lineage import journal
from tasks.lineage.home import home


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def test_a_flow_is_told_with_its_stages_in_the_order_they_started() -> None:
    journal.begin_flow("train", "run-1", preset="test", mlflow_run_id="m", prefect_url="http://prefect/run-1")
    journal.write_stage("run-1", "tokenize", state="ran", started="2026-01-01T00:00:00", seconds=2.0)
    journal.write_stage("run-1", "pretrain", state="running", started="2026-01-01T00:00:01")
    journal.write_stage("run-1", "pretrain", progress={"step": 3, "total": 9, "eta_seconds": 4.0, "loss": 2.5})
    found = journal.read_flow("run-1")
    assert found is not None
    assert (found["flow"], found["state"], found["preset"]) == ("train", "running", "test")
    assert list(found["stages"]) == ["tokenize", "pretrain"]
    assert found["stages"]["pretrain"]["state"] == "running"
    assert found["stages"]["pretrain"]["progress"]["loss"] == 2.5


def test_the_end_is_told() -> None:
    journal.begin_flow("train", "run-1")
    journal.end_flow("run-1", "failed", error="no data")
    found = journal.read_flow("run-1")
    assert found is not None
    assert (found["state"], found["error"], found["flow"]) == ("failed", "no data", "train")
    assert found["ended"] >= found["started"]


def test_the_latest_run_of_each_flow_is_told() -> None:
    for flow, run in [("train", "a"), ("train", "b"), ("data", "c")]:
        journal.begin_flow(flow, run)
        path = home() / "runs" / run / "flow.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "started": f"2026-01-01T00:00:0{run}"}))
    assert {flow: entry["flow_run_id"] for flow, entry in journal.latest_flows().items()} == {"data": "c", "train": "b"}


def test_no_runs_are_no_flows() -> None:
    assert journal.latest_flows() == {}
    assert journal.read_flow("nothing") is None


def test_a_process_number_used_again_is_not_the_process_that_wrote() -> None:
    journal.begin_flow("train", "run-1")
    path = home() / "runs" / "run-1" / "flow.json"
    entry = json.loads(path.read_text())
    assert entry["process"]["pid"] == os.getpid()
    entry["process"]["created"] -= 100  # the same number, another process
    path.write_text(json.dumps(entry))
    found = journal.read_flow("run-1")
    assert found is not None
    assert (found["state"], found["error"]) == ("failed", journal.INTERRUPTED)


def test_a_process_of_another_machine_is_believed() -> None:
    journal.begin_flow("train", "run-1")
    path = home() / "runs" / "run-1" / "flow.json"
    entry = json.loads(path.read_text())
    entry["process"] = {"host": "elsewhere", "pid": 999999, "created": 0.0}
    path.write_text(json.dumps(entry))
    found = journal.read_flow("run-1")
    assert found is not None and found["state"] == "running"


def test_nothing_but_whole_entries_lie_in_the_folder() -> None:
    journal.begin_flow("train", "run-1")
    for step in range(20):
        journal.write_stage("run-1", "pretrain", state="running", progress={"step": step})
    assert sorted(path.name for path in (home() / "runs" / "run-1").iterdir()) == ["flow.json", "pretrain.json"]
