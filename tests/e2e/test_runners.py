"""One setting says where the pieces of a stage run: the same bytes come of it on every runner, and no process stays."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.benchmarks.rows import environment
from tests.e2e.command import PROJECT, Pedigree
from tests.small_course import text

pytestmark = pytest.mark.e2e
PIECES = {"write_drafts", "clean_piece", "sign_group", "encode_group"}  # what the stages map
NO_INDEX = ("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError", "ProxyError")
Found = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few JSONL files, some rows of them alike."""
    folder = tmp_path_factory.mktemp("sources")
    for part in range(3):
        rows = [{"text": text(number % 55 + 40 * part)} for number in range(60)]
        (folder / f"part-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def clusters(pedigree: Pedigree, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Found]]:
    """What came of Ray and Dask, installed beside the project's own packages and kept for the next time. It goes on
    while other tests run: for the most part it waits."""
    assert pedigree("up").code == 0
    folder = tmp_path_factory.mktemp("clusters")
    lock = [line for line in (PROJECT / "requirements-cluster.lock").read_text().splitlines() if "==" in line]

    def install_and_run() -> Found:
        return run(pedigree, environment("cluster", lock, packages_of_project=True), sources, folder, "ray:2", "dask:2")

    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(install_and_run)


@pytest.fixture(scope="module")
def here(pedigree: Pedigree, clusters: Future[Found], sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What came of the runners that need no other packages."""
    folder = tmp_path_factory.mktemp("here")
    return run(pedigree, Path(sys.executable), sources, folder, "local:1", "local:2", "threads:2", "processes:2")


def test_threads_and_processes_give_the_bytes_of_one_process(pedigree: Pedigree, here: Found) -> None:
    check(pedigree, here, here["local:1"])


def test_clusters_of_ray_and_dask_give_the_same_bytes(pedigree: Pedigree, clusters: Future[Found], here: Found) -> None:
    try:
        found = clusters.result()
    except subprocess.CalledProcessError as error:
        if any(reason in error.stderr for reason in NO_INDEX):
            pytest.skip("Ray and Dask could not be installed: the package index cannot be reached")
        raise AssertionError(error.stderr) from error
    check(pedigree, found, here["local:1"])


def run(pedigree: Pedigree, python: Path, sources: Path, folder: Path, *runners: str) -> Found:
    """The data stages on each runner with so many workers. Processes must end with the program."""
    variables = pedigree.environment(
        PREFECT_API_URL=pedigree.servers()["prefect"], PREFECT_HOME=str(folder / "prefect"), RAY_worker_niceness="0",
        STARTED_BY=str(folder),
    )  # fmt: skip
    command = [python, "-m", "tests.runners_course", sources, folder, *runners]
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, env=variables)
    finally:
        left = remaining(str(folder))
        for process in left:
            process.kill()
    assert done.returncode == 0, done.stderr[-3000:]
    assert not left, f"processes outlived the program: {left}"
    found: Found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(runners)
    return found


def remaining(marked: str, seconds: float = 10.0) -> list[psutil.Process]:
    """The processes that a program left behind, after some time to end."""
    deadline = time.monotonic() + seconds
    while left := [process for process in psutil.process_iter() if _variable(process) == marked]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return left


def _variable(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("STARTED_BY")
    except (psutil.Error, OSError):
        return None


def check(pedigree: Pedigree, found: Found, expected: dict[str, str]) -> None:
    """Equal digests, of stages whose pieces the runner worked on, several of each."""
    for runner, made in found.items():
        assert {**made, "flow_run": ""} == {**expected, "flow_run": ""}, runner
        wanted = {"flow_runs": {"id": {"any_": [made["flow_run"]]}}, "limit": 200}
        tasks = pedigree.prefect("POST", "/task_runs/filter", wanted)
        names = Counter(task["name"].rsplit("-", 1)[0] for task in tasks)
        several = {name for name in PIECES if names[name] > 1}
        assert several == (set() if runner.startswith("local") else PIECES), (runner, names)
