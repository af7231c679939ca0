"""Training stages killed with SIGKILL at random moments and started again, until they end.

Processes are forked from one that has imported PyTorch already, so that a start costs little; each is a process of its
own, and what it leaves is what a kill leaves.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

STEPS = {"pretrain": 120, "finetune": 90, "reward": 72, "ppo": 32}
STAGES = tuple(STEPS)
PATIENCE = 240.0  # seconds for a step to come

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.kills_stage"])


@dataclass(frozen=True)
class Way:
    """How a stage is run."""

    precision: str = "fp32"
    compile: bool = False
    data_workers: int = 1
    checkpoint_steps: int = 2


@dataclass(frozen=True)
class Ended:
    """A run that ended: the digest of its output, and after which steps it was killed."""

    digest: str
    killed_at: list[int]


def run(home: Path, stage: str, way: Way, kills: int = 0, seed: int = 0) -> Ended:
    """Runs a stage in `home` to its end, killing it `kills` times on the way.

    Moments are drawn by `seed`: a step, and then up to 30 ms more, so that a kill falls anywhere in a step, an
    evaluation or the writing of a checkpoint. Raises RuntimeError where the run fails by itself.
    """
    chance = random.Random(seed)
    home.mkdir(parents=True, exist_ok=True)
    targets = sorted(chance.sample(range(1, int(0.9 * STEPS[stage])), kills))
    killed_at = []
    for target in targets:
        process = _start(home, stage, way)
        _wait_for_step(home, target, process)
        time.sleep(chance.uniform(0, 0.03))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"{stage} ended with {process.exitcode} before it could be killed")
        killed_at.append(_step(home))
    process = _start(home, stage, way)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{stage} failed with {process.exitcode}")
    return Ended((home / "digest").read_text(), killed_at)


def _start(home: Path, stage: str, way: Way) -> BaseProcess:
    from tests.faults.kills_stage import work  # the module that the fork server has loaded

    process = _context.Process(target=work, args=(str(home), stage, STEPS[stage], way))
    process.start()
    return process


def _step(home: Path) -> int:
    """The last step that is logged; 0 before the first."""
    steps = [0]
    for path in home.glob("metrics/*.jsonl"):
        for line in path.read_bytes().splitlines()[-20:]:
            try:
                steps.append(json.loads(line)["step"] or 0)
            except ValueError:
                continue  # it is being written
    return max(steps)


def _wait_for_step(home: Path, target: int, process: BaseProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while _step(home) < target:
        if not process.is_alive():
            raise RuntimeError(f"it ended with {process.exitcode} before step {target}")
        if time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"step {target} did not come in {PATIENCE:.0f} s")
        time.sleep(0.005)
