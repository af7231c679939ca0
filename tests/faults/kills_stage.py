"""What the processes of kills.py do: a training stage at a tiny size. Importing this loads all it needs."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from model.scalar import ScalarModel
from tasks.finetune import FinetuneConfig, finetune
from tasks.lineage.artifact import Artifact
from tasks.lineage.files import write_atomically
from tasks.ppo import PPOConfig, ppo
from tasks.pretrain import PretrainConfig, pretrain
from tasks.reward import RewardConfig, reward
from tasks.stage import Resources, Stage
from tests.alignment_world import half_learned_policy, store_model, store_pairs, store_rankings, toy_tokenizer
from tests.tiny_artifacts import model_artifact, pairs_artifact, tokens_artifact

SIZES = {  # heads of 32, for which training is machine code
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "context_length": 32, "batch_size": 8, "evaluations": 4, "samples": 2,
}  # fmt: skip


def work(home: str, stage: str, steps: int, way: Any) -> None:
    """Runs the stage in `home` and writes the digest of its output to `home`/digest."""
    os.environ["PEDIGREE_HOME"] = home
    torch.set_num_threads(1)
    resources = Resources(
        threads=1, device="cpu", compile=way.compile, data_workers=way.data_workers, checkpoint_seconds=1e6,
        checkpoint_steps=way.checkpoint_steps,
    )  # fmt: skip
    runs: dict[str, tuple[Stage, dict[str, Any]]] = {
        "pretrain": (pretrain, {"config": PretrainConfig(**SIZES, steps=steps, precision=way.precision)}),
        "finetune": (
            finetune,
            {"config": FinetuneConfig(batch_size=8, steps=steps, max_new_tokens=8, precision=way.precision)},
        ),
        "reward": (
            reward,
            {
                "config": RewardConfig(
                    num_hidden_layers=2, batch_size=8, epochs=steps // 5, evaluate_every=20, precision=way.precision
                )
            },
        ),
        "ppo": (
            ppo,
            {
                "config": PPOConfig(
                    iterations=steps,
                    batch_size=8,
                    max_new_tokens=8,
                    lr=1e-3,
                    evaluation_prompts=4,
                    watch_every=8,
                    watch_prompts=3,
                    kl_target=0.5,
                    kl_horizon=64,
                    precision=way.precision,
                )
            },
        ),
    }
    function, settings = runs[stage]
    made = function(**_inputs(Path(home), stage), **settings, resources=resources)
    write_atomically(Path(home) / "digest", made.digest.encode())


def _inputs(home: Path, stage: str) -> dict[str, Artifact]:
    """What the stage reads, made at the first start in this home."""
    kept = home / "inputs.json"
    if kept.exists():
        return {name: Artifact(**artifact) for name, artifact in json.loads(kept.read_text()).items()}
    made = _make(home, stage)
    write_atomically(kept, json.dumps({name: artifact.model_dump() for name, artifact in made.items()}).encode())
    return made


def _make(home: Path, stage: str) -> dict[str, Artifact]:
    if stage == "pretrain":
        return {"tokens": tokens_artifact()}
    if stage == "finetune":
        return {"model": model_artifact(), "pairs": pairs_artifact(finetune=60, validation=8, evaluation=4)}
    tokenizer = toy_tokenizer()
    policy = half_learned_policy(tokenizer, steps=20)
    made = {"model": store_model(policy, tokenizer, home / "given" / "model")}
    if stage == "reward":
        return made | {"rankings": store_rankings(home / "given" / "rankings")}
    scorer = ScalarModel.from_causal(policy, 2)
    return made | {
        "reward_model": store_model(scorer, tokenizer, home / "given" / "reward", "reward_model"),
        "pairs": store_pairs(home / "given" / "pairs"),
    }
