"""PPO killed with SIGKILL in a real process, then started again: the same bytes as a run that was left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.scalar import ScalarModel
from tasks.lineage.store import Store
from tests.alignment_world import half_learned_policy, store_model, store_pairs, toy_tokenizer

RUN = """
import sys
from tasks.ppo import PPOConfig, ppo
from tasks.stage import Artifact, Resources

model, reward_model, pairs = (Artifact(kind="given", digest=digest, key=digest) for digest in sys.argv[1:4])
config = PPOConfig(iterations=24, batch_size=8, max_new_tokens=12, lr=1e-3, evaluation_prompts=6, watch_every=5,
                   watch_prompts=3, kl_target=0.5, kl_horizon=64, precision="fp32")
made = ppo(model=model, reward_model=reward_model, pairs=pairs, config=config,
           resources=Resources(threads=1, device="cpu", checkpoint_steps=1))
print(made.digest)
"""


def start(home: Path, digests: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PEDIGREE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, *digests]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output.split()[-1]


def checkpoints(home: Path) -> list[Path]:
    return sorted(home.glob("work/*/checkpoints/step-*"))


def world(home: Path, folder: Path) -> list[str]:
    """Digests of model, reward model and pairs, put into the store at `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(home))
        tokenizer = toy_tokenizer()
        policy = half_learned_policy(tokenizer)
        scorer = ScalarModel.from_causal(policy, 2)
        artifacts = (
            store_model(policy, tokenizer, folder / "model"),
            store_model(scorer, tokenizer, folder / "reward", "reward_model"),
            store_pairs(folder / "pairs"),
        )
    return [artifact.digest for artifact in artifacts]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("untouched")
    digest = finish(start(folder / "home", world(folder / "home", folder)))
    return folder / "home" / "objects" / digest


@pytest.mark.parametrize("kill_after", [2, 13])
def test_ppo_killed_and_started_again_ends_with_the_same_bytes(tmp_path: Path, untouched: Path, kill_after: int):
    home = tmp_path / "home"
    digests = world(home, tmp_path)
    process = start(home, digests)
    deadline = time.monotonic() + 300
    while not any(path.name >= f"step-{kill_after:08d}" for path in checkpoints(home)):
        assert process.poll() is None and time.monotonic() < deadline, "PPO ended before the iteration to be killed at"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(Store(home).records()) == [] and len(list(home.glob("objects/*"))) == 3  # nothing half-written
    assert "step-00000001" < checkpoints(home)[-1].name < "step-00000024"

    digest = finish(start(home, digests))
    assert digest == untouched.name
    weights = (home / "objects" / digest / "model" / "model.safetensors").read_bytes()
    assert weights == (untouched / "model" / "model.safetensors").read_bytes()
