"""`kill -9` and SIGTERM during pretraining, in a process of its own; started again, it ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = 300
# Saving may take two per cent of the time, which in so short a run is a checkpoint or two; here it may take more.
SCRIPT = """
from model.checkpoint import CheckpointClock
from tasks.pretrain import PretrainConfig, pretrain
from tasks.stage import Resources
from tests.tiny_artifacts import tokens_artifact

CheckpointClock.due = lambda clock, step: step % 5 == 0
config = PretrainConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                        intermediate_size=64, context_length=32, batch_size=8, precision="fp32", steps={steps},
                        optimizer="{optimizer}", samples=2)
artifact = pretrain(tokens=tokens_artifact(), config=config, resources=Resources(threads=1))
print(artifact.path)
"""


def start(home: Path, optimizer: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PEDIGREE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    script = SCRIPT.format(steps=STEPS, optimizer=optimizer)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(home: Path, optimizer: str) -> tuple[Path, str]:
    """Where the run's output lies, and what it logged."""
    process = start(home, optimizer)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return Path(output.strip().splitlines()[-1]), errors


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The output of a run that nothing stopped, by its optimizer."""
    return cache(lambda optimizer: finish(tmp_path_factory.mktemp("whole"), optimizer)[0])


def stop_after(home: Path, optimizer: str, step: int, number: int) -> int:
    """Start a run and send the signal once a checkpoint of at least `step` steps is there; the exit status."""
    process = start(home, optimizer)
    deadline = time.monotonic() + 300
    try:
        while not [p for p in home.glob("work/*/checkpoints/step-*") if int(p.name.removeprefix("step-")) >= step]:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no checkpoint appeared"
            time.sleep(0.002)
        process.send_signal(number)
        process.communicate(timeout=300)
        return process.returncode
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def last_checkpoint(home: Path) -> int:
    return max(int(p.name.removeprefix("step-")) for p in home.glob("work/*/checkpoints/step-*"))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_killed_run_started_again_ends_with_the_same_bytes(tmp_path, whole, optimizer):
    killed = tmp_path / "killed"
    for step in (5, 60):
        assert stop_after(killed, optimizer, step, signal.SIGKILL) == -signal.SIGKILL
        assert not list(killed.glob("records/*.json")), "a killed run leaves no record"
    assert 60 <= last_checkpoint(killed) < STEPS
    resumed, _ = finish(killed, optimizer)
    weights = [path / "model" / "model.safetensors" for path in (whole(optimizer), resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert whole(optimizer).name == resumed.name, "the digest of the artifact differs"


def test_a_damaged_newest_checkpoint_costs_steps_and_not_the_result(tmp_path, whole):
    killed = tmp_path / "killed"
    stop_after(killed, "muon", 10, signal.SIGKILL)
    newest = max(killed.glob("work/*/checkpoints/step-*")) / "tensors.safetensors"
    os.truncate(newest, newest.stat().st_size - 100)
    resumed, _ = finish(killed, "muon")
    assert whole("muon").name == resumed.name


def test_sigterm_saves_the_very_step_and_ends_the_process(tmp_path):
    home = tmp_path / "home"
    assert stop_after(home, "muon", 5, signal.SIGTERM) == -signal.SIGTERM
    steps = sorted(int(p.name.removeprefix("step-")) for p in home.glob("work/*/checkpoints/step-*"))
    metrics = [json.loads(line) for path in home.glob("metrics/*.jsonl") for line in path.read_text().splitlines()]
    assert steps[-1] == max(row["step"] for row in metrics) < STEPS
    finish(home, "muon")
