"""Two processes under torchrun, stopped or killed: what goes on from their checkpoint, and that none is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = 60
SCRIPT = """
import json, sys
from tasks.lineage.stage_run import read_metrics
from tasks.lineage.store import Store
from tasks.pretrain import PretrainConfig, pretrain
from tasks.stage import Resources
from tests.tiny_artifacts import tokens_artifact

config = PretrainConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                        intermediate_size=64, context_length=32, batch_size=8, precision="fp32", steps={steps},
                        samples=1, evaluations=1)
resources = Resources(checkpoint_seconds=1e6, checkpoint_steps=1, threads=1, device="cpu", nproc={nproc},
                      shard={shard})
made = pretrain(tokens=tokens_artifact(), config=config, resources=resources)
rows = read_metrics(Store().metrics_path(made.key))
losses = [row["metrics"]["train/loss"] for row in rows if "train/loss" in row["metrics"]]
print(json.dumps([made.digest, losses]))
"""


def start(home: Path, nproc: int, shard: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(steps=STEPS, nproc=nproc, shard=shard)],
        cwd=ROOT,
        env={**os.environ, "PEDIGREE_HOME": str(home), "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(home: Path, nproc: int, shard: bool = False) -> tuple[str, list[float]]:
    """The digest of the output, and the loss of each step."""
    process = start(home, nproc, shard)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    digest, losses = json.loads(output.splitlines()[-1])
    return digest, losses


def steps_saved(home: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in home.glob("work/*/checkpoints/step-*"))


def stop(home: Path, nproc: int, number: int, shard: bool = False) -> None:
    """Send the signal to the stage's process after some steps, and wait until it has ended by it."""
    process = start(home, nproc, shard)
    try:
        wait_for(process, lambda: max(steps_saved(home), default=0) >= 5)
        process.send_signal(number)
        process.communicate(timeout=300)
        assert process.returncode == -number
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert 5 <= steps_saved(home)[-1] < STEPS


def kill_one_while_they_write(home: Path) -> None:
    """Kill one of two processes that write a checkpoint together, with the older ones there."""
    process = start(home, 2, shard=True)
    try:
        wait_for(process, lambda: max(steps_saved(home), default=0) >= 5)
        wait_for(process, lambda: any(home.glob("work/*/checkpoints/.writing-*/tensors-*")))
        os.kill(max(workers(home)), signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1 and "RuntimeError" in errors
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert 5 <= steps_saved(home)[-1] < STEPS


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "it did not come to it"
        time.sleep(0.001)


def workers(home: Path) -> list[int]:
    """The processes that work for this home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue  # it has ended
        if b"torchrun_worker" in command and str(home).encode() in command:
            found.append(int(path.parent.name))
    return found


def assert_all_end(home: Path) -> None:
    deadline = time.monotonic() + 300
    while workers(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers(home)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of a run by one process that nothing stopped."""
    return finish(tmp_path_factory.mktemp("whole"), 1)[1]


@pytest.mark.parametrize(("before", "after", "shard"), [(2, 1, True), (1, 2, False)])
def test_sigterm_saves_and_another_number_of_processes_goes_on(tmp_path, whole, before, after, shard):
    stop(tmp_path, before, signal.SIGTERM, shard)
    assert not workers(tmp_path)
    metrics = [json.loads(line) for path in tmp_path.glob("metrics/*.jsonl") for line in path.read_text().splitlines()]
    assert steps_saved(tmp_path)[-1] == max(row["step"] for row in metrics), "the very step is saved"
    _, losses = finish(tmp_path, after)
    assert len(whole) == STEPS and losses == pytest.approx(whole, abs=1e-4)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes through /proc")
def test_killed_it_leaves_no_process_and_ends_with_the_same_bytes(tmp_path):
    digest, _ = finish(tmp_path / "whole", 2)
    stop(tmp_path / "killed", 2, signal.SIGKILL)
    assert_all_end(tmp_path / "killed")
    assert finish(tmp_path / "killed", 2)[0] == digest


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes through /proc")
def test_a_process_killed_while_it_writes_its_rows_damages_no_older_checkpoint(tmp_path):
    digest, _ = finish(tmp_path / "whole", 2, shard=True)
    kill_one_while_they_write(tmp_path / "killed")
    assert_all_end(tmp_path / "killed")
    assert finish(tmp_path / "killed", 2, shard=True)[0] == digest
