import json
from pathlib import Path

import pytest

from tasks.tracking.metrics_rows import MetricsTail, mlflow_name


def row(step: int | None, **metrics: float) -> str:
    return json.dumps({"step": step, "time": 12.5, "metrics": metrics}) + "\n"


def values(tail: MetricsTail) -> list[tuple[str, float, int | None]]:
    return [(figure.name, figure.value, figure.step) for figure in tail.new_figures()]


def test_each_row_is_read_once_and_a_line_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    assert values(tail) == []
    second = row(2, loss=0.5)
    path.write_text(row(1, loss=1.0) + second[:9])
    assert values(tail) == [("loss", 1.0, 1)]
    assert values(tail) == []
    with path.open("a") as file:
        file.write(second[9:])
    assert values(tail) == [("loss", 0.5, 2)]


def test_a_resumed_attempt_repeats_no_step_but_summary_figures_may_change(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(row(1, loss=1.0) + row(2, loss=0.5) + row(None, total=1) + '{"step": 3, "ti' + "\n")
    path.write_text(path.read_text() + row(2, loss=0.5) + row(3, loss=0.25) + row(None, total=2))
    tail = MetricsTail(path)
    assert values(tail) == [("loss", 1, 1), ("loss", 0.5, 2), ("total", 1, None), ("loss", 0.25, 3), ("total", 2, None)]


def test_what_could_not_be_delivered_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(row(1, loss=1.0))
    tail = MetricsTail(path)
    tail.rewind(tail.new_figures())
    assert values(tail) == [("loss", 1.0, 1)]


def test_a_file_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(row(1, loss=1.0) + row(2, loss=1.0))
    tail = MetricsTail(path)
    tail.new_figures()
    path.write_text(row(1, loss=3.0))
    assert values(tail) == [("loss", 3.0, 1)]


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("eval/bits_per_byte", "eval/bits_per_byte"),
        ("dropped/too short (words)", "dropped/too short _words_"),
        ("../secret", "secret"),
        ("a//b", "a/b"),
        ("", "unnamed"),
    ],
)
def test_names_are_made_such_as_mlflow_accepts(name: str, accepted: str) -> None:
    assert mlflow_name(name) == accepted
