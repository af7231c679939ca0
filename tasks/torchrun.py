"""A stage's training on several processes: torchrun starts them; the stage waits and passes on what they tell.

The stage and its processes meet in the work folder of its key: `torchrun.json` says what to do; metrics and checkpoints
are the files that one process writes too; `progress.json` and `error.json` come back. When they have ended, the last
checkpoint holds the trained model, and the stage goes on from it as after a resume.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from model.checkpoint import CheckpointMismatch, Checkpoints
from model.stopping import StopRequest, TrainingStopped
from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources, StageConfig
from tasks.lineage.errors import ConfigError, DataError, StoreFull
from tasks.lineage.files import write_atomically
from tasks.lineage.stage_run import StageRun

JOB, PROGRESS, ERROR, LOG = "torchrun.json", "progress.json", "error.json", "torchrun.log"
CHECKPOINTS = "checkpoints"  # where the training stages keep theirs
WORKER = "tasks.torchrun_worker"
POLL_SECONDS = 0.2
ENDING_SECONDS = 40.0  # that torchrun has to end its processes; it kills them itself after 30
LAST_LINES = 20  # of the log in an error
OWNED = "PEDIGREE_OWNED"  # set: standard input closes when the stage's process is gone

_ERRORS = {kind.__name__: kind for kind in (ConfigError, DataError, StoreFull, CheckpointMismatch, ValueError)}


class Job(BaseModel):
    """What the processes are told."""

    stage: str
    inputs: dict[str, Artifact]
    config: dict[str, Any]
    resources: Resources
    metrics_file: Path


def train_under_torchrun(
    run: StageRun,
    stage: str,
    inputs: Mapping[str, Artifact],
    config: StageConfig,
    resources: Resources,
) -> None:
    """Trains in `resources.processes` processes to the last checkpoint.

    SIGTERM and cancelling reach them: raises TrainingStopped if every step of theirs is in a whole checkpoint. Raises
    the error of the first process that failed, as its own kind where trying again cannot help, else RuntimeError.
    """
    job = Job(
        stage=stage,
        inputs=dict(inputs),
        config=config.model_dump(mode="json"),
        resources=resources,
        metrics_file=run.metrics_file,
    )
    for name in (PROGRESS, ERROR, LOG):
        (run.work / name).unlink(missing_ok=True)
    write_atomically(run.work / JOB, job.model_dump_json().encode())
    if resources.nnodes > 1:
        for node in range(1, resources.nnodes):
            run.logger.info(
                "%s waits for machine %d of %d; run there, with the same PEDIGREE_HOME: %s",
                stage, node + 1, resources.nnodes, shlex.join(["python", *_command(run.work, resources, node)]),
            )  # fmt: skip
    logged_before = run.metrics_file.stat().st_size if run.metrics_file.exists() else 0
    with StopRequest() as stop:
        status, asked_to_stop = _supervise(run, resources, stop)
    if status == 0:
        return
    if asked_to_stop:
        saved = Checkpoints(run.work / CHECKPOINTS).newest()
        last = saved.step if saved else 0
        if last >= _last_step(run.metrics_file, logged_before):
            raise TrainingStopped(last)
    raise _error(run.work, status)


def _last_step(metrics_file: Path, start: int) -> int:
    """The last step that is logged behind byte `start`; 0 if there is none."""
    if not metrics_file.exists():
        return 0
    with metrics_file.open("rb") as file:
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]  # a process that is killed leaves half a line
    return max((json.loads(line)["step"] or 0 for line in whole.splitlines()), default=0)


def _supervise(run: StageRun, resources: Resources, stop: StopRequest) -> tuple[int, bool]:
    """Waits for torchrun to end: its status, and whether it was asked to stop."""
    with (run.work / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *_command(run.work, resources, 0)],
            stdin=subprocess.PIPE,  # its end is how the processes notice that this one was killed
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(resources),
            start_new_session=True,  # Ctrl-C is for this process, which then ends them
        )
    follow = _Follow(run)
    stopping = False
    try:
        while process.poll() is None:
            if not stopping and stop.requested():
                stopping = True
                process.send_signal(signal.SIGTERM)
            follow()
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            _end(process)
        assert process.stdin is not None
        process.stdin.close()
        follow()
    return process.returncode, stopping


def _command(work: Path, resources: Resources, node: int) -> list[str]:
    """torchrun's, for one of the machines."""
    if resources.nnodes == 1:
        meeting = ["--standalone", "--local-addr=127.0.0.1"]
    else:
        host, _, port = str(resources.rendezvous).rpartition(":")
        meeting = [
            f"--nnodes={resources.nnodes}", f"--node-rank={node}", f"--master-addr={host}", f"--master-port={port}",
        ]  # fmt: skip
    return ["-m", "torch.distributed.run", *meeting, f"--nproc-per-node={resources.nproc}", "-m", WORKER, str(work)]


def _environment(resources: Resources) -> dict[str, str]:
    """Ours, with this code on the path, and the cores shared out."""
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    share = max(1, (os.cpu_count() or 1) // resources.nproc)
    inherited = os.environ.get("OMP_NUM_THREADS", "")
    threads = resources.threads or min(share, int(inherited) if inherited.isdecimal() and int(inherited) else share)
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(path),
        OWNED: "1",
    }


class _Follow:
    """Passes on what is new in the log and the progress."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._read = 0
        self._shown = ""

    def __call__(self) -> None:
        with (self._run.work / LOG).open("rb") as log:
            log.seek(self._read)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.decode(errors="replace").splitlines():
            self._run.logger.info("%s", line)
        try:
            text = (self._run.work / PROGRESS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        if text != self._shown:
            self._shown = text
            progress = json.loads(text)
            progress.pop("eta_seconds", None)
            self._run.progress(progress.pop("step"), progress.pop("total"), **progress)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tell_error(work: Path, error: Exception) -> None:
    """Leaves `error` for the stage, unless another process has left one before."""
    kind = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS), None)
    told = {"kind": kind, "message": str(error) if kind else f"{type(error).__name__}: {error}"}
    with contextlib.suppress(FileExistsError), (work / ERROR).open("x", encoding="utf-8") as file:
        file.write(json.dumps(told))


def _error(work: Path, status: int) -> Exception:
    try:
        told = json.loads((work / ERROR).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        lines = (work / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return RuntimeError("\n".join([f"torchrun ended with status {status}; its last lines:", *lines]))
    return _ERRORS.get(told["kind"], RuntimeError)(told["message"])
