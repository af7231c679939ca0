"""A run is followed to its end, and a run that nobody works on is noticed."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows import follow as following
from flows.errors import RunFailed
from flows.follow import LiveTable, PlainLines, follow
from flows.runs import finish
from flows.summary import print_summary
from tasks.lineage import journal


class Api:
    """Answers with one state after another, and lets the journal move on between them."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.asked = 0

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        self.asked += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "COMPLETED":
            journal.write_stage(flow_run_id, "pretrain", state="ran", seconds=3.0, metrics={"eval/bits_per_byte": 1.5})
            journal.end_flow(flow_run_id, "completed")
        return {"id": flow_run_id, "name": "train test", "state": {"type": state, "name": state, "message": "killed"}}


@pytest.fixture(autouse=True)
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(following, "ASK_SECONDS", 0.01)
    journal.begin_flow("train", "run-1")
    progress = {"step": 3, "total": 10, "eta_seconds": 7.0, "loss": 4.5, "tokens_per_second": 1000.0}
    journal.write_stage("run-1", "pretrain", state="running", progress=progress)


def test_plain_lines_tell_the_story() -> None:
    out = StringIO()
    with PlainLines(Console(file=out, width=200)) as view:
        ended = follow(Api("RUNNING", "RUNNING", "COMPLETED"), "run-1", view, lambda: True)  # type: ignore[arg-type]
    assert ended["state"]["type"] == "COMPLETED"
    lines = out.getvalue().splitlines()
    assert lines == [
        "pretrain: running",
        "pretrain: 3/10, loss 4.5, 1,000 tokens/s, 7.0 s left",
        "pretrain: ran in 3.0 s. bits per byte 1.500",
    ]


def test_the_live_table_shows_stage_step_loss_speed_and_time_left() -> None:
    out = StringIO()
    with LiveTable(Console(file=out, width=160, force_terminal=True)) as view:
        follow(Api("RUNNING", "COMPLETED"), "run-1", view, lambda: True)  # type: ignore[arg-type]
    assert "3/10, loss 4.5, 1,000 tokens/s, 7.0 s left" in out.getvalue()


def test_a_dead_worker_is_noticed() -> None:
    with PlainLines(Console(file=StringIO())) as view, pytest.raises(RunFailed, match="worker has ended"):
        follow(Api("RUNNING"), "run-1", view, lambda: False)  # type: ignore[arg-type]


def test_prefect_is_seldom_asked_while_stages_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ASK_SECONDS", 0.2)
    api = Api("RUNNING", "RUNNING", "COMPLETED")
    looks: list[str] = []
    follow(api, "run-1", lambda run, _: looks.append(run["state"]["type"]), lambda: True)  # type: ignore[arg-type]
    assert api.asked == 3
    assert len(looks) > 9, "the journal is looked at far more often"


@pytest.mark.parametrize(
    ("state", "hint"),
    [("FAILED", "Mend it and run again"), ("CRASHED", "killed, or out of memory"), ("CANCELLED", "goes on from there")],
)
def test_a_bad_end_names_the_stage_and_what_to_do(state: str, hint: str) -> None:
    journal.write_stage("run-1", "pretrain", state="failed", error="the corpus is empty")
    with pytest.raises(RunFailed, match=f"(?s)ended {state}.*pretrain: the corpus is empty.*{hint}"):
        finish("train", Api(state).flow_run("run-1"))


def test_the_summary_puts_the_answers_side_by_side(tmp_path: Path) -> None:
    samples = tmp_path / "objects" / ("e" * 64) / "samples.jsonl"
    samples.parent.mkdir(parents=True)
    row = '{"prompt": "What is [it]?", "human": "This.", "pretrained": "uh", "finetuned": "That", "aligned": "This"}\n'
    samples.write_text(row * 9)
    journal.write_stage("run-1", "evaluate", state="cached", seconds=0.1, output="e" * 64)
    journal.end_flow("run-1", "completed")
    out = StringIO()
    entry = journal.read_flow("run-1")
    assert entry is not None
    print_summary(Console(file=out, width=200), entry, "http://prefect", "http://mlflow")
    text = out.getvalue()
    assert text.count("What is [it]?") == 4
    assert all(heading in text for heading in ("pretrained", "fine-tuned", "PPO", "http://prefect", "http://mlflow"))
    assert "1 of 2 stages were cached." in text
