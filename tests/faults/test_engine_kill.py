"""A stage killed midway in a real process, and two processes at the same work: what the next one finds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store

BAKERY = '''
import os, time
from pathlib import Path
from pydantic import Field
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage

class BakeConfig(StageConfig):
    steps: int = Field(4, ge=1)

@stage(output="cake")
def bake(run: StageRun, config: BakeConfig, resources: Resources) -> None:
    """Each step leaves a piece in the work folder; the output is all pieces."""
    log = Path(os.environ["BAKERY_LOG"])
    (run.output / "half").mkdir()
    for step in range(config.steps):
        piece = run.work / f"piece-{step}"
        if piece.exists():
            continue
        with log.open("a") as file:
            file.write(f"{step}\\n")
        run.log_metrics({"train/loss": 1 / (step + 1)}, step=step)
        time.sleep(0.25)
        piece.write_text(str(step))
        (run.output / "half" / f"{step}.txt").write_text("unfinished")
    for file in (run.output / "half").iterdir():
        file.unlink()
    (run.output / "half").rmdir()
    (run.output / "cake.txt").write_text("".join((run.work / f"piece-{n}").read_text() for n in range(config.steps)))

if __name__ == "__main__":
    print(bake().digest)
'''


@pytest.fixture
def bakery(tmp_path: Path) -> Iterator[Path]:
    """A folder with the stage as a module of its own."""
    (tmp_path / "bakery.py").write_text(BAKERY)
    yield tmp_path
    remove_tree(tmp_path / "home")


def start(bakery: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PEDIGREE_HOME": str(bakery / "home"),
        "BAKERY_LOG": str(bakery / "log"),
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, str(bakery / "bakery.py")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output.split()[-1]


def steps_done(bakery: Path) -> list[int]:
    log = bakery / "log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def wait_for(bakery: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not any(bakery.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stage_stopped_midway_goes_on_from_its_work_folder(bakery: Path, how: signal.Signals) -> None:
    process = start(bakery)
    wait_for(bakery, "home/work/*/piece-1", process)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    store = Store(bakery / "home")
    assert list(store.records()) == [] and not (store.root / "objects").exists()
    digest = finish(start(bakery))
    done = steps_done(bakery)
    assert done.count(0) == done.count(1) == 1 and sorted(set(done)) == [0, 1, 2, 3]
    assert [path.name for path in store.object_path(digest).iterdir()] == ["cake.txt"]
    assert (store.object_path(digest) / "cake.txt").read_text() == "0123"
    assert list((store.root / "work").iterdir()) == []
    assert store.verify() == {"objects": 1, "damaged": [], "missing": [], "foreign": []}


def test_two_processes_with_the_same_key_compute_once(bakery: Path) -> None:
    first, second = start(bakery), start(bakery)
    assert finish(first) == finish(second)
    assert steps_done(bakery) == [0, 1, 2, 3]
    assert len(list(Store(bakery / "home").records())) == 1


def test_who_waits_takes_over_when_the_owner_is_killed(bakery: Path) -> None:
    owner = start(bakery)
    wait_for(bakery, "home/work/*/piece-0", owner)
    waiting = start(bakery)
    wait_for(bakery, "home/work/*/piece-2", owner)
    owner.kill()
    owner.communicate()
    finish(waiting)
    done = steps_done(bakery)
    assert done.count(0) == done.count(1) == done.count(2) == 1 and 3 in done
