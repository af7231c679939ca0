"""What a stage reports: curves, summary figures, progress and the time that is left."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tasks.lineage import stage_run
from tasks.lineage.errors import StageError
from tasks.lineage.stage_run import StageRun, read_metrics, summary


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stage_run, "time", clock)
    return clock


@pytest.fixture
def shown() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def run(tmp_path: Path, shown: list[dict[str, Any]]) -> StageRun:
    logger = logging.getLogger("test")
    return StageRun(tmp_path / "output", tmp_path, tmp_path / "metrics.jsonl", logger, shown.append)


def test_rows_are_json_lines_of_step_time_and_metrics(run: StageRun, tmp_path: Path, clock: Clock) -> None:
    run.log_metrics({"loss": 2}, step=1)
    run.log_metrics({"documents": 7})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 1, "time": 100.0, "metrics": {"loss": 2}},
        {"step": None, "time": 100.0, "metrics": {"documents": 7}},
    ]


def test_a_step_logged_again_after_a_resume_replaces_the_earlier_one(run: StageRun, tmp_path: Path) -> None:
    for step, loss in [(1, 3.0), (2, 2.5), (3, 9.9), (2, 2.4), (3, 2.0)]:
        run.log_metrics({"loss": loss}, step=step)
    run.log_metrics({"speed": 5.0}, step=2)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["metrics"]) for row in rows] == [
        (1, {"loss": 3.0}), (2, {"loss": 2.4, "speed": 5.0}), (3, {"loss": 2.0}),
    ]  # fmt: skip


def test_figures_without_a_step_are_the_summary(run: StageRun, tmp_path: Path) -> None:
    run.log_metrics({"loss": 3.0}, step=1)
    run.log_metrics({"loss": 2.0, "parameters": 10})
    run.log_metrics({"loss": 1.5})
    assert summary(tmp_path / "metrics.jsonl") == {"loss": 1.5, "parameters": 10}


def test_no_file_is_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_a_row_that_a_kill_cut_short_is_left_out(run: StageRun, tmp_path: Path) -> None:
    run.log_metrics({"loss": 3.0}, step=1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "ti')
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1]


def test_numbers_of_other_libraries_are_taken_and_words_refused(run: StageRun, tmp_path: Path) -> None:
    class Scalar:
        def __float__(self) -> float:
            return 0.5

    run.log_metrics({"loss": Scalar()})  # type: ignore[dict-item]
    assert summary(tmp_path / "metrics.jsonl") == {"loss": 0.5}
    with pytest.raises(StageError, match="'loss' is 'low'"):
        run.log_metrics({"loss": "low"})  # type: ignore[dict-item]


def test_progress_is_shown_twice_a_second_and_at_the_end(run: StageRun, shown: list[Any], clock: Clock) -> None:
    for step in range(101):
        clock.now = 100 + step * 0.1
        run.progress(step, 100, loss=1.0)
    assert 20 <= len(shown) <= 21
    assert shown[-1]["step"] == 100


def test_the_time_left_counts_from_where_this_attempt_began(run: StageRun, shown: list[Any], clock: Clock) -> None:
    run.progress(800, 1000)
    clock.now += 10
    run.progress(900, 1000, tokens_per_second=5.0)
    assert shown[0]["eta_seconds"] is None
    assert shown[1] == {"step": 900, "total": 1000, "eta_seconds": pytest.approx(10.0), "tokens_per_second": 5.0}
