"""A stage inside a real Prefect flow (temporary server): states, retries, artifacts, journal."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.testing.utilities import prefect_test_harness
from pydantic import Field

from tasks.lineage import journal
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.fingerprint import Fingerprint
from tasks.lineage.store import Store
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage

CALLS: list[str] = []


class NumbersConfig(StageConfig):
    """How many numbers."""

    count: int = Field(3, ge=1)
    failures: int = Field(0, ge=0, description="attempts that fail")
    error: str = "OSError"


ERRORS: dict[str, type[BaseException]] = {
    "OSError": OSError,
    "DataError": DataError,
    "KeyboardInterrupt": KeyboardInterrupt,
}


@stage(output="numbers", retries=2)
def numbers(run: StageRun, config: NumbersConfig, resources: Resources) -> None:
    """Writes numbers."""
    CALLS.append("numbers")
    attempt = run.work / "attempts"
    done = int(attempt.read_text()) if attempt.exists() else 0
    attempt.write_text(str(done + 1))
    run.progress(done, 3, loss=1.5)
    if done < config.failures:
        raise ERRORS[config.error]("come back later")
    run.logger.info("writing %d numbers", config.count)
    (run.output / "numbers.txt").write_text("\n".join(map(str, range(config.count))))
    run.log_metrics({"count": config.count})


@stage(output="total", retries=2)
def total(run: StageRun, numbers: Artifact, config: StageConfig, resources: Resources) -> None:
    CALLS.append("total")
    values = (numbers.path / "numbers.txt").read_text().split()
    (run.output / "total.txt").write_text(str(sum(map(int, values))))


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        logging.getLogger("prefect").setLevel(logging.ERROR)
        with prefect_test_harness(server_startup_timeout=300):
            yield


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tasks.stage.BACKOFF_SECONDS", 0.01)
    monkeypatch.delitem(numbers.__dict__, "_task", raising=False)
    CALLS.clear()


def run_flow(config: NumbersConfig) -> tuple[str, list[Artifact]]:
    """Both stages in a flow; its run id and what the calls returned."""
    found: list[Any] = []

    @flow(name="sums")
    def sums() -> None:
        context = FlowRunContext.get()
        assert context is not None and context.flow_run is not None
        found.append(str(context.flow_run.id))
        journal.begin_flow("sums", found[0], preset="test")
        made = numbers(config=config, resources=Resources())
        found.extend([made, total(numbers=made)])

    try:
        sums()
    finally:
        run_flow.last = found[0]  # type: ignore[attr-defined]
    return found[0], found[1:]


def task_states(flow_run_id: str) -> dict[str, tuple[str, str, int]]:
    """Task run name → state name, state message and number of attempts, as Prefect's API tells them."""
    with get_client(sync_client=True) as client:
        for _ in range(100):
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
            if runs and all(run.state is not None and run.state.is_final() for run in runs):
                break
    return {run.name: (run.state.name, run.state.message or "", run.run_count) for run in runs if run.state is not None}


def test_a_flow_runs_stages_as_tasks_and_finds_them_cached_the_next_time(server: None) -> None:
    first, made = run_flow(NumbersConfig())
    second, found = run_flow(NumbersConfig())
    assert found == made
    assert CALLS == ["numbers", "total"]
    assert (made[1].path / "total.txt").read_text() == "3"
    assert [state for state, _, _ in task_states(first).values()] == ["Completed", "Completed"]
    states = task_states(second)
    assert {name: state for name, (state, _, _) in states.items()} == {"numbers": "Cached", "total": "Cached"}
    assert made[0].digest[:12] in states["numbers"][1]


def test_the_journal_says_what_ran_and_what_was_cached(server: None) -> None:
    first, made = run_flow(NumbersConfig())
    second, _ = run_flow(NumbersConfig())
    ran, cached = journal.read_flow(first), journal.read_flow(second)
    assert ran is not None and cached is not None
    assert [entry["state"] for entry in ran["stages"].values()] == ["ran", "ran"]
    entry = cached["stages"]["numbers"]
    assert entry["state"] == "cached"
    assert entry["output"] == made[0].digest
    assert entry["metrics"] == {"count": 3.0}
    assert entry["ended"] >= entry["started"]


def test_the_record_names_the_prefect_runs(server: None) -> None:
    flow_run_id, made = run_flow(NumbersConfig())
    record = Store().record(made[0].key)
    assert record is not None
    assert record.flow_run_id == flow_run_id
    assert record.task_run_id is not None


def test_a_failure_that_may_pass_is_retried_in_the_same_work_folder(server: None) -> None:
    flow_run_id, made = run_flow(NumbersConfig(failures=2))
    assert CALLS == ["numbers", "numbers", "numbers", "total"]
    assert task_states(flow_run_id)["numbers"] == ("Completed", "", 3)
    entry = journal.read_flow(flow_run_id)
    assert entry is not None and entry["stages"]["numbers"]["error"] is None
    assert made[0].path.exists()


def test_a_mistake_in_the_data_is_not_retried(server: None) -> None:
    with pytest.raises(DataError, match="come back later"):
        run_flow(NumbersConfig(failures=1, error="DataError"))
    assert CALLS == ["numbers"]
    flow_run_id = run_flow.last  # type: ignore[attr-defined]
    entry = journal.read_flow(flow_run_id)
    assert entry is not None
    assert entry["stages"]["numbers"]["state"] == "failed"
    assert entry["stages"]["numbers"]["error"] == "come back later"


def test_an_interrupt_leaves_work_to_go_on_from(server: None) -> None:
    config = NumbersConfig(failures=1, error="KeyboardInterrupt")
    with pytest.raises(BaseException, match=r"come back later|interrupt"):
        run_flow(config)
    entry = journal.read_flow(run_flow.last)  # type: ignore[attr-defined]
    assert entry is not None
    assert entry["stages"]["numbers"]["state"] == "failed"
    assert "interrupted" in entry["stages"]["numbers"]["error"]
    assert (Store().work_path(numbers.key_for(config=config)) / "attempts").read_text() == "1"
    _, made = run_flow(config)
    assert made[0].path.exists()


def pages(flow_run_id: str) -> dict[str, str]:
    """What Prefect's UI shows of each stage, as Markdown by the artifact's key."""
    with get_client(sync_client=True) as client:
        response = client.request("POST", "/artifacts/filter", json={"flow_runs": {"id": {"any_": [flow_run_id]}}})
    return {page["key"]: page["data"] for page in response.json()}


def test_prefect_shows_a_page_for_each_stage(server: None) -> None:
    flow_run_id, made = run_flow(NumbersConfig())
    found = pages(flow_run_id)
    assert set(found) == {"stage-numbers", "stage-total"}
    assert made[0].digest in found["stage-numbers"]


def test_the_page_says_why_the_stage_ran_and_shows_changed_code(server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run_flow(NumbersConfig(count=5))
    assert "never ran before" in pages(first)["stage-numbers"]
    second, _ = run_flow(NumbersConfig(count=6))
    assert "setting count: 5 → 6" in pages(second)["stage-numbers"]
    assert "input numbers from numbers changed (numbers: setting count: 5 → 6)" in pages(second)["stage-total"]
    code = total.recipe.code
    name = next(name for name in code.definitions if name.endswith(":total"))
    source = code.sources[code.definitions[name]] + "pass\n"
    now = Fingerprint({**code.definitions, name: "0" * 64}, {**code.sources, "0" * 64: source})
    monkeypatch.setitem(total.recipe.__dict__, "code", now)
    third, _ = run_flow(NumbersConfig(count=6))
    assert "Why it ran" not in pages(third)["stage-numbers"]
    assert f"code {name} changed" in pages(third)["stage-total"]
    assert "+pass" in pages(third)["stage-total"]


def test_a_missing_input_is_named() -> None:
    with pytest.raises(ConfigError, match="numbers"):
        total()
