"""Collecting what nothing needs: what is kept, what goes, and that it can be stopped anywhere."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.lineage.artifact import Artifact
from tasks.lineage.files import remove_tree
from tasks.lineage.gc import Sweep, delete_object, survey, sweep
from tasks.lineage.lock import locked
from tasks.lineage.store import Store
from tasks.stage import StageConfig, StageRun, stage

DAY = 86_400.0


class MixConfig(StageConfig):
    kind: str = "rye"


@stage(output="dough")
def mix(run: StageRun, config: MixConfig) -> None:
    (run.output / "dough.txt").write_text(config.kind * 100)


@stage(output="bread")
def bake(run: StageRun, dough: Artifact, config: StageConfig) -> None:
    (run.output / "bread.txt").write_text((dough.path / "dough.txt").read_text().upper())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    yield Store()
    remove_tree(tmp_path / "home")


def made(kind: str) -> tuple[Artifact, Artifact]:
    dough = mix(config=MixConfig(kind=kind))
    return dough, bake(dough=dough)


def names(doomed: Sweep) -> set[str]:
    return {item.name for item in doomed.objects}


def sound(store: Store) -> None:
    found = store.verify(deep=True)
    assert (found["damaged"], found["missing"], found["foreign"]) == ([], [], [])


def test_what_roots_were_made_from_is_kept_and_the_rest_goes(store: Store) -> None:
    rye, rye_bread = made("rye")
    oat, oat_bread = made("oat")
    doomed = survey(store, {"model alias": [rye_bread.digest]}, DAY)
    assert names(doomed) == {oat.digest, oat_bread.digest}
    assert doomed.kept == {"model alias": 2}
    assert doomed.bytes == 600
    assert oat.path.exists(), "looking deletes nothing"
    assert names(sweep(store, doomed)) == names(doomed)
    assert rye.path.exists() and not oat.path.exists() and not list((store.root / "trash").iterdir())
    sound(store)
    assert store.maker(oat_bread).inputs["dough"] == oat, "lineage still answers"
    assert made("oat") == (oat, oat_bread), "and it can all be made again"
    sound(store)


def test_what_was_sorted_out_of_an_output_goes_with_it(store: Store) -> None:
    dough, bread = made("rye")
    index = store.root / "index"
    of_dough = [index / dough.digest / "trace-1-words", index / "documents" / f"{dough.digest}.fates"]
    of_bread = index / "documents" / f"{bread.digest}.bands-000"
    lost = index / f"{'a' * 64}.old"
    for path in (*of_dough, of_bread, lost):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words")
    assert [item.name for item in survey(store, {"pins": [bread.digest]}, DAY).files] == [f"index/{lost.name}"]
    delete_object(store, bread.digest, [bread.key], forgotten_by="certificate")
    sweep(store, survey(store, {}, DAY))
    assert [path for path in index.rglob("*") if path.is_file()] == []


def test_the_output_of_two_records_is_kept_with_what_either_made_it_from(store: Store) -> None:
    """The same bread from another dough: whoever asks is told of both."""
    small, _ = made("x")
    capital = mix(config=MixConfig(kind="X"))
    bread = bake(dough=capital)
    assert bread == bake(dough=small).model_copy(update={"key": bread.key})
    assert names(survey(store, {"pinned": [bread.digest]}, DAY)) == set()
    assert {small.digest, capital.digest} == names(survey(store, {}, DAY)) - {bread.digest}


def test_stages_at_work_keep_their_inputs_their_work_and_their_output(store: Store) -> None:
    dough, bread = made("rye")
    store.work_path("a" * 64).mkdir(parents=True)
    long_ago = time.time() - 3 * DAY
    os.utime(store.work_path("a" * 64), (long_ago, long_ago))
    doomed = survey(store, {}, DAY)
    assert (names(doomed), [item.name for item in doomed.work]) == ({dough.digest, bread.digest}, ["a" * 64])
    with locked(store.lock_path("a" * 64), "toast", None, [dough.digest]), locked(store.lock_path(bread.key), "", None):
        again = survey(store, {}, DAY)
        assert (names(again), again.work) == ({bread.digest}, [])
        gone = sweep(store, doomed)  # as if they had begun after the survey
        assert (gone.objects, gone.work) == ([], [])
    assert dough.path.exists() and bread.path.exists() and store.work_path("a" * 64).exists()
    assert names(sweep(store, doomed)) == {dough.digest, bread.digest}
    assert not store.work_path("a" * 64).exists()
    sound(store)


def test_unfinished_work_is_kept_while_it_is_fresh(store: Store) -> None:
    store.work_path("a" * 64).mkdir(parents=True)
    assert survey(store, {}, DAY).work == []
    assert [item.name for item in survey(store, {}, -1).work] == ["a" * 64]


def test_who_waits_for_a_lock_that_is_removed_meanwhile_takes_the_new_one(store: Store) -> None:
    path = store.lock_path("a" * 64)
    held, entered = threading.Event(), []

    def wait_for_it() -> None:
        held.wait()
        with locked(path, "second", logging.getLogger()) as lock:
            lock.check()
            entered.append(path.stat().st_ino)

    waiting = threading.Thread(target=wait_for_it)
    waiting.start()
    with locked(path, "first", logging.getLogger()):
        held.set()
        time.sleep(0.3)  # it has opened the file by now
        path.unlink()
        path.touch()
        new = path.stat().st_ino
    waiting.join()
    assert entered == [new]


def test_leftovers_go(store: Store) -> None:
    dough, _ = made("rye")
    store.set_aside(dough.digest)
    (store.root / "trash").mkdir()
    (store.root / "trash" / "x.0123abcd").write_text("half deleted")
    draft = store.root / "records" / f".{'a' * 64}.json.{'b' * 32}"
    draft.write_text("half written")
    os.utime(draft, (1, 1))
    doomed = survey(store, {}, -1)
    assert len(doomed.files) == 3 and doomed.locks
    sweep(store, doomed)
    for folder in ("aside", "trash", "locks"):
        assert list((store.root / folder).iterdir()) == []
    assert not draft.exists()


SWEEPER = """
from tasks.lineage.gc import survey, sweep
from tasks.lineage.store import Store
store = Store()
doomed = survey(store, {}, 86400)
print("ready", flush=True)
sweep(store, doomed)
"""


def test_killed_anywhere_it_leaves_a_valid_store(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "sweeper.py"
    script.write_text(SWEEPER)
    for number in range(40):
        made(f"kind {number} ")
    environment = {**os.environ, "PEDIGREE_HOME": str(store.root), "PYTHONPATH": str(Path.cwd())}
    deleted = []
    for delay in (0.0, 0.005, 0.01, 0.03):
        process = subprocess.Popen(
            [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.communicate()
        sound(store)
        deleted.append(80 - len(list((store.root / "objects").iterdir())))
    assert deleted == sorted(deleted)
    sweep(store, survey(store, {}, DAY))
    assert not list((store.root / "objects").iterdir()) and not list((store.root / "trash").iterdir())
    sound(store)
