import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tests.planted_course import Course

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """Made by a process of its own, since stages start workers. PEDIGREE_TEST_COURSE names one to use again."""
    kept = os.environ.get("PEDIGREE_TEST_COURSE")
    root = Path(kept) if kept else tmp_path_factory.mktemp("course")
    answer = root / "made.json"
    if not answer.exists():
        environment = {**os.environ, "PEDIGREE_HOME": str(root / "home")}
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "tests.planted_course", str(root / "texts")]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        answer.write_text(done.stdout.splitlines()[-1])
    made = {name: Artifact(**fields) for name, fields in json.loads(answer.read_text()).items()}
    yield Course(root / "texts", Store(root / "home"), made)
    for folder in () if kept else (root / "home" / "objects").glob("*"):
        folder.chmod(0o755)


@pytest.fixture
def course(trained: Course, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.setenv("PEDIGREE_HOME", str(trained.store.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return trained
