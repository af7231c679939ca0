"""The engine alone, with no orchestrator: hits, damage, locks, neutral settings, what an attempt leaves."""

import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from tasks.lineage import journal
from tasks.lineage.config import identity
from tasks.lineage.errors import StoreError, StoreFull
from tasks.lineage.execute import Context
from tasks.lineage.files import end_last_line, remove_tree
from tasks.lineage.lock import locked
from tasks.lineage.stage_run import read_metrics
from tasks.lineage.store import STORED_MTIME, Store
from tasks.stage import Artifact, Resources, StageConfig, StageRun, neutral, stage

CALLS: list[str] = []
ACTS: list[Any] = []  # called inside `bake`, to interfere with it


class BakeConfig(StageConfig):
    size: int = 3
    icing: bool | int = Field(0, json_schema_extra=neutral(0))
    layers: tuple[int, ...] = Field((), json_schema_extra=neutral([]))


@stage(output="cake")
def bake(run: StageRun, config: BakeConfig, resources: Resources) -> None:
    CALLS.append("bake")
    for act in ACTS:
        act(run)
    (run.output / "cake.txt").write_text("x" * config.size)
    run.log_metrics({"sweetness": math.nan})


@stage(output="slice")
def cut(run: StageRun, cake: Artifact, config: StageConfig, resources: Resources) -> None:
    CALLS.append("cut")
    (run.output / "slice.txt").write_text((cake.path / "cake.txt").read_text()[:1])


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    CALLS.clear()
    ACTS.clear()
    yield Store()
    remove_tree(tmp_path / "home")


def flip(artifact: Artifact, name: str, keep_time: bool) -> None:
    """Change one byte of a stored file, at the same size; with `keep_time` as a fault of the disk would."""
    file = artifact.path / name
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    if keep_time:
        os.utime(file, (STORED_MTIME, STORED_MTIME))


def test_resources_do_not_affect_identity_and_a_hit_calls_nothing() -> None:
    first = bake(resources=Resources(threads=1))
    assert bake(resources=Resources(threads=2, compile=True)) == first
    assert CALLS == ["bake"]
    assert bake(config=BakeConfig(size=4)) != first


def test_a_setting_at_its_neutral_value_stays_out_of_the_key() -> None:
    assert identity(BakeConfig()) == {"size": 3}
    assert identity(BakeConfig(layers=(1,))) == {"size": 3, "layers": [1]}
    assert identity(BakeConfig(icing=False)) == {"size": 3, "icing": False}


def test_a_damaged_output_is_made_again_and_loudly(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    made = bake()
    flip(made, "cake.txt", keep_time=False)
    with caplog.at_level(logging.WARNING):
        assert bake() == made
    assert CALLS == ["bake", "bake"]
    assert "bake: its stored output" in caplog.text and "cake.txt: content differs" in caplog.text
    assert (made.path / "cake.txt").read_text() == "xxx"
    assert len(list((store.root / "aside").iterdir())) == 1
    assert store.verify() == {"objects": 1, "damaged": [], "missing": [], "foreign": []}


def test_damage_that_left_no_trace_is_found_by_verify_and_then_by_the_next_call(store: Store) -> None:
    made = bake()
    flip(made, "cake.txt", keep_time=True)
    [entry] = store.verify()["damaged"]
    assert (entry["digest"], entry["stage"]) == (made.digest, "bake")
    assert bake() == made
    assert CALLS == ["bake", "bake"]
    assert store.verify()["damaged"] == []


def test_a_rotten_object_does_not_stand_in_for_an_equal_fresh_one(store: Store) -> None:
    made = bake()
    flip(made, "cake.txt", keep_time=True)
    store.record_path(made.key).unlink()
    bake()
    assert (made.path / "cake.txt").read_text() == "xxx"


def test_a_damaged_input_is_refused_before_any_work() -> None:
    made = bake()
    (made.path / "cake.txt").chmod(0o644)
    (made.path / "cake.txt").write_text("longer than before")
    with pytest.raises(StoreError, match=r"its input cake .* is damaged .* 18 bytes, 3 expected"):
        cut(cake=made)
    assert CALLS == ["bake"]
    cut(cake=bake())
    assert CALLS == ["bake", "bake", "cut"]


def test_a_link_among_the_objects_counts_as_damage(store: Store) -> None:
    made = bake()
    store.record_path(made.key).unlink()
    made.path.chmod(0o755)
    (made.path / "link").symlink_to("/")
    assert [entry["digest"] for entry in store.verify()["damaged"]] == [made.digest]


def test_a_figure_that_is_no_number_can_be_read_back(store: Store) -> None:
    made = bake()
    record = store.record(made.key)
    assert record is not None and math.isnan(record.metrics["sweetness"])
    bake()
    assert CALLS == ["bake"]


def test_whoever_lost_the_lock_stores_nothing(store: Store) -> None:
    ACTS.append(lambda run: store.lock_path(run.work.name).unlink())
    with pytest.raises(StoreError, match="was removed while it worked"):
        bake()
    assert list(store.records()) == [] and not (store.root / "objects").exists()
    ACTS.clear()
    assert bake().path.exists()


def test_the_lock_is_not_handed_on_to_programs_that_are_started(tmp_path: Path) -> None:
    logger = Context().logger
    with locked(tmp_path / "lock", "work", logger):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with locked(tmp_path / "lock", "work", logger) as lock:
            lock.check()
    finally:
        child.communicate(b"\n")


def test_a_failed_attempt_leaves_its_work_and_no_output(store: Store) -> None:
    def fail(run: StageRun) -> None:
        (run.work / "half").write_text("done")
        raise RuntimeError("oven broke")

    ACTS.append(fail)
    with pytest.raises(RuntimeError, match="oven broke"):
        bake()
    assert (store.work_path(bake.key_for()) / "half").read_text() == "done"
    assert list(store.records()) == []
    seen: list[bool] = []
    ACTS[:] = [lambda run: seen.append((run.work / "half").exists())]
    bake()
    assert seen == [True]
    assert not store.work_path(bake.key_for()).exists()


def test_work_left_by_a_process_killed_after_its_record_is_cleared_at_the_next_hit(store: Store) -> None:
    made = bake()
    left = store.work_path(made.key)
    left.mkdir(parents=True)
    (left / "checkpoint").write_text("large")
    assert bake() == made
    assert CALLS == ["bake"] and not left.exists()


def test_a_torn_row_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "time": 1.0, "metrics": {"loss": 1.0}}\n{"step": 2, "ti')
    end_last_line(file)
    with file.open("a") as stream:
        stream.write('{"step": 2, "time": 2.0, "metrics": {"loss": 0.5}}\n')
    assert [row["metrics"]["loss"] for row in read_metrics(file)] == [1.0, 0.5]
    end_last_line(tmp_path / "new.jsonl")
    assert (tmp_path / "new.jsonl").read_bytes() == b""


def test_a_killed_process_is_shown_as_interrupted_even_before_its_parent_asks_after_it() -> None:
    script = (
        "from tasks.lineage import journal; journal.begin_flow('train', 'r'); "
        "journal.write_stage('r', 'bake', state='running'); print('ready', flush=True); input()"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    alive = journal.read_flow("r")
    assert alive is not None and alive["stages"]["bake"]["state"] == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    found = journal.read_flow("r")
    child.communicate()
    assert found is not None and found["state"] == "failed"
    assert found["stages"]["bake"]["error"] == journal.INTERRUPTED == found["error"]


def test_a_full_disk_under_the_journal_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*names: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreFull, match="free some or set PEDIGREE_HOME"):
        journal.begin_flow("train", "r")
    assert journal.read_flow("r") is None
