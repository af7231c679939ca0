"""A Prefect flow stopped by a signal in the middle of a stage: the journal says so, and the work is kept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from tasks.lineage import journal
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store

BAKERY = """
import time
from prefect import flow
from prefect.runtime import flow_run
from tasks.lineage import journal
from tasks.stage import StageConfig, StageRun, stage

@stage(output="cake", retries=2)
def bake(run: StageRun, config: StageConfig) -> None:
    (run.work / "begun").write_text("half")
    for step in range(600):
        run.progress(step, 600)
        time.sleep(0.1)
    (run.output / "cake.txt").write_text("done")

@flow(name="bakery")
def bakery() -> None:
    journal.begin_flow("bakery", str(flow_run.id))
    bake()

if __name__ == "__main__":
    bakery()
"""


@pytest.fixture(scope="module")
def api_url() -> Iterator[str]:
    with prefect_test_harness(server_startup_timeout=300):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    remove_tree(tmp_path / "home")


def wait_for_work(home: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not list(home.glob("work/*/begun")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


def latest() -> dict[str, Any]:
    [flow] = journal.latest_flows().values()
    return flow


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_flow_stopped_midway_is_shown_as_interrupted(tmp_path: Path, home: Path, api_url: str, how: signal.Signals):
    (tmp_path / "bakery.py").write_text(BAKERY)
    environment = {**os.environ, "PREFECT_API_URL": api_url, "PYTHONPATH": str(Path.cwd()), "DO_NOT_TRACK": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, str(tmp_path / "bakery.py")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_work(home, process)
    assert latest()["stages"]["bake"]["state"] == "running"
    process.send_signal(how)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0, output
    entry = latest()["stages"]["bake"]
    assert entry["state"] == "failed"
    assert "interrupted" in entry["error"] and "run again" in entry["error"]
    store = Store()
    assert list(store.records()) == [] and not (store.root / "objects").exists()
    assert [path.read_text() for path in home.glob("work/*/begun")] == ["half"]
