"""The command line against one home folder, and waiting for what it does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

PROJECT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 500
SLOWER = ("--set", "pretrain.steps=150", "--set", "resources.checkpoint_seconds=0.2")  # time to be killed in
TRAIN = ("run", "train", "--preset", "test", *SLOWER, "--json")


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
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        foreign = ("PREFECT", "MLFLOW", "PEDIGREE", "OPENLINEAGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, "PEDIGREE_HOME": str(self.home), "OMP_NUM_THREADS": "1", **self.variables, **more}

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


def until(condition: Callable[[], Any], timeout: float = 400.0) -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def running_stage(home: Path, stage: str, after: float = 0.0) -> dict[str, Any] | None:
    """The journal's entry of a stage at work since `after` (seconds since 1970) that has written a checkpoint."""
    for path in (home / "runs").glob(f"*/{stage}.json"):
        entry: dict[str, Any] = json.loads(path.read_text())
        work = home / "work" / str(entry.get("key"))
        kept = [found for found in work.rglob("*") if found.is_file() and work / "output" not in found.parents]
        if path.stat().st_mtime > after and entry["state"] == "running" and kept:
            return entry
    return None
