"""Real servers in a home of their own, started once for all end-to-end tests and ended after them."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 280


@dataclass(frozen=True)
class Finished:
    """How one `pedigree …` ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Pedigree:
    """The command line against one home folder."""

    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW", "PEDIGREE"))
        }
        return {**kept, "PEDIGREE_HOME": str(self.home), "OMP_NUM_THREADS": "1", **more}

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=PROJECT,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **environment: str) -> Finished:
        with self.begin(*arguments, **environment) as process:
            try:
                out, err = process.communicate(timeout=RUN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Finished(process.returncode, out, err)

    def servers(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "servers.json").read_text())
        return state

    def prefect(self, method: str, path: str, body: object = None) -> Any:
        return (
            httpx.request(method, f"{self.servers()['prefect']}{path}", json=body, timeout=30).raise_for_status().json()
        )

    def mlflow(self, method: str, path: str, **request: Any) -> Any:
        address = f"{self.servers()['mlflow']}/api/2.0/mlflow{path}"
        return httpx.request(method, address, timeout=30, **request).raise_for_status().json()

    def worker_log(self) -> str:
        return (self.home / "logs" / "worker.log").read_text(errors="replace")


@pytest.fixture(scope="session")
def taken_port() -> Iterator[int]:
    """Prefect's usual port, taken by somebody else for as long as the servers run."""
    with socket.socket() as somebody:
        with suppress(OSError):  # taken already: just as good
            somebody.bind(("127.0.0.1", 4200))
            somebody.listen()
        yield 4200


@pytest.fixture(scope="session")
def pedigree(tmp_path_factory: pytest.TempPathFactory, taken_port: int) -> Iterator[Pedigree]:
    command = Pedigree(tmp_path_factory.mktemp("home"))
    yield command
    ours = [psutil.Process(pid) for pid in _pids(command) if psutil.pid_exists(pid)]
    ended = command("down")
    assert ended.code == 0, ended.err
    left = [process for process in ours if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        process.send_signal(signal.SIGKILL)
    assert not left, f"`pedigree down` left {left}"


def _pids(command: Pedigree) -> list[int]:
    servers = command.servers()
    return [servers[name]["pid"] for name in ("prefect_process", "mlflow_process", "worker") if servers[name]]


@pytest.fixture(scope="session")
def trained(pedigree: Pedigree) -> Finished:
    """The whole course, once, at the test preset."""
    finished = pedigree("run", "train", "--preset", "test", "--json")
    assert finished.code == 0, f"{finished.err}\n{pedigree.worker_log()[-8000:]}"
    return finished


@pytest.fixture(scope="session")
def again(pedigree: Pedigree, trained: Finished) -> Finished:
    """The same once more: nothing is left to do."""
    finished = pedigree("run", "train", "--preset", "test", "--json")
    assert finished.code == 0, finished.err
    return finished
