"""One setting says where the pieces of a stage run; what comes of them is the same to the byte.

    python -m pytest tests/benchmarks/data/test_runners.py

Run by hand: it installs Ray and Dask into an environment of its own and starts a cluster of each.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks.rows import environment
from tests.e2e.command import PROJECT, Pedigree
from tests.e2e.conftest import pedigree, receiver, taken_port  # noqa: F401 (fixtures)
from tests.runners_course import write_sources

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]  # two clusters start, on however slow a machine
WORKERS = 2
RUNNERS = (("local", 1), ("local", WORKERS), ("threads", WORKERS), ("processes", WORKERS), ("ray", WORKERS),
           ("dask", WORKERS))  # fmt: skip


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With Ray and Dask, beside the project's own packages."""
    lock = [line for line in (PROJECT / "requirements-cluster.lock").read_text().splitlines() if "==" in line]
    return environment("cluster", lock, packages_of_project=True, under=tmp_path_factory.mktemp("environments"))


def test_every_runner_gives_the_same_bytes(
    pedigree: Pedigree,  # noqa: F811
    python: Path,
    tmp_path: Path,
) -> None:
    assert pedigree("up").code == 0
    write_sources(tmp_path / "sources")
    digests: dict[tuple[str, int], dict[str, str]] = {}
    for runner, workers in RUNNERS:
        home = tmp_path / f"{runner}-{workers}"  # of its own, so that nothing is found
        done = subprocess.run(
            [python, "-m", "tests.runners_course", str(tmp_path / "sources"), runner, str(workers)],
            cwd=PROJECT, capture_output=True, text=True, timeout=500,
            env=pedigree.environment(
                PEDIGREE_HOME=str(home),
                PREFECT_API_URL=pedigree.servers()["prefect"],
                PREFECT_HOME=str(tmp_path / "p"),
                RAY_worker_niceness="0",
            ),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        digests[runner, workers] = json.loads(done.stdout.splitlines()[-1])
        assert list((home / "records").glob("*.json"))
    first = digests["local", 1]
    assert set(first) == {"collect", "clean", "deduplicate", "tokenize"}
    assert all(found == first for found in digests.values()), digests
