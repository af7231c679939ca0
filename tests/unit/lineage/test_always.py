"""A stage that looks at the outside world runs every time, and changes nothing when the world has not."""

from pathlib import Path

import pytest

from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tasks.stage import StageConfig, StageRun, stage

CALLS: list[str] = []
WORLD: list[str] = []


@stage(output="snapshot", always=True)
def look(run: StageRun, config: StageConfig) -> None:
    CALLS.append("look")
    (run.output / "seen.txt").write_text(WORLD[-1])


@stage(output="report")
def tell(run: StageRun, snapshot: Artifact, config: StageConfig) -> None:
    CALLS.append("tell")
    (run.output / "report.txt").write_text((snapshot.path / "seen.txt").read_text()[:5])


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    CALLS.clear()
    WORLD[:] = ["sunny"]


def test_an_unchanged_world_gives_the_same_artifact_and_record() -> None:
    first = look()
    record = Store().record(first.key)
    assert look() == first
    assert CALLS == ["look", "look"]
    assert Store().record(first.key) == record


def test_a_changed_world_gives_a_new_record_beside_the_old_one() -> None:
    first = look()
    WORLD.append("rainy")
    second = look()
    assert first.digest != second.digest
    assert {record.artifact for record in Store().records()} == {first, second}
    WORLD.append("sunny")
    assert look() == first


def test_what_comes_after_runs_only_if_the_snapshot_changed() -> None:
    for weather in ("sunny", "sunny", "rainy", "sunny"):
        WORLD.append(weather)
        tell(snapshot=look())
    assert CALLS.count("tell") == 2


def test_a_changed_input_with_an_unchanged_output_stops_the_rerun_there() -> None:
    """Early cut-off: two snapshots that lead to the same report are one input for whatever reads reports."""
    WORLD.append("sunny spells")
    first = tell(snapshot=look())
    WORLD.append("sunny and warm")
    second = tell(snapshot=look())
    assert first.key != second.key
    assert first.digest == second.digest
