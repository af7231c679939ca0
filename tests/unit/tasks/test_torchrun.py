"""A stage trained by two processes under torchrun (gloo, this machine): the same learning as by one."""

import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from model.checkpoint import Checkpoints
from model.scalar import ScalarModel
from model.stopping import TrainingStopped
from model.transformer import Transformer
from tasks import torchrun
from tasks.finetune import FinetuneConfig, finetune
from tasks.lineage.stage_run import StageRun, read_metrics
from tasks.lineage.store import Store
from tasks.ppo import PPOConfig, ppo
from tasks.pretrain import PretrainConfig, pretrain
from tasks.reward import RewardConfig, reward
from tasks.stage import Resources
from tests.alignment_world import (
    half_learned_policy,
    ranking_rows,
    store_model,
    store_pairs,
    store_rankings,
    toy_config,
    toy_tokenizer,
)
from tests.tiny_artifacts import model_artifact, pairs_artifact, tokens_artifact

ROOT = Path(__file__).parents[3]
TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "context_length": 32, "batch_size": 7, "precision": "fp32", "evaluations": 2, "samples": 1,
}  # fmt: skip


def curve(artifact, metric="train/loss") -> list[float]:
    rows = read_metrics(Store().metrics_path(artifact.key))
    return [row["metrics"][metric] for row in rows if metric in row["metrics"]]


def by_one_and_by_two(
    tmp_path, monkeypatch, train, metrics=("train/loss", "train/grad_norm"), shard=False
) -> list[float]:
    """What `train(resources)` makes in a home of its own with one process and with two, which divide the model if
    `shard`: curves and weights must agree. Returns the curve of the first metric."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made, curves, weights = [], [], []
    for nproc in (1, 2):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(nproc)))
        made.append(train(Resources(nproc=nproc, shard=shard, threads=1, device="cpu")))
        curves.append([curve(made[-1], metric) for metric in metrics])
        weights.append(load_file(made[-1].path / "model" / "model.safetensors"))
        numerics = Store().record(made[-1].key).numerics
        assert numerics.get("processes", 1) == nproc and numerics.get("shard", False) == (shard and nproc == 2)
    for one, two in zip(*curves, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-4)
    assert made[0].key == made[1].key, "how many processes trained is no part of the key"
    for name, tensor in weights[0].items():
        assert (weights[1][name] - tensor).abs().max() < 1e-3, name
    return curves[1][0]


def test_two_processes_that_divide_the_model_pretrain_as_one_does(tmp_path, monkeypatch):
    def train(resources):  # 7 rows: the ranks have 4 and 3
        return pretrain(tokens=tokens_artifact(), config=PretrainConfig(**TINY, steps=30), resources=resources)

    losses = by_one_and_by_two(tmp_path, monkeypatch, train, shard=True)
    assert len(losses) == 30 and losses[-1] < losses[0] - 0.5, "it learns"


def test_two_processes_that_divide_the_model_finetune_as_one_does(tmp_path, monkeypatch):
    """Answers of unlike length, in micro-batches of unlike size: each counts by its tokens."""

    def train(resources):
        config = FinetuneConfig(batch_size=7, accumulation=2, steps=20, max_new_tokens=4, precision="fp32")
        pairs = pairs_artifact(finetune=30, validation=4, evaluation=2)
        return finetune(model=model_artifact(), pairs=pairs, config=config, resources=resources)

    losses = by_one_and_by_two(tmp_path, monkeypatch, train, shard=True)
    assert len(losses) == 20 and losses[-1] < losses[0] - 0.5, "it learns"


def test_two_processes_train_the_reward_model_as_one_does(tmp_path, monkeypatch):
    """Pairs of unlike weight, and steps of one ranking: the other process has none."""
    tokenizer = toy_tokenizer()
    policy = Transformer(toy_config(tokenizer))

    def train(resources):
        folder = Path(os.environ["PEDIGREE_HOME"])
        model = store_model(policy, tokenizer, folder / "policy")
        config = RewardConfig(epochs=4, batch_size=6, human_weight=0.5, precision="fp32", lr=2e-2)
        rankings = store_rankings(folder / "rankings", ranking_rows()[:9])
        return reward(model=model, rankings=rankings, config=config, resources=resources)

    losses = by_one_and_by_two(tmp_path, monkeypatch, train)
    assert len(losses) == 8 and losses[-1] < losses[0] - 0.1, "it learns"


def test_two_processes_align_as_one_does(tmp_path, monkeypatch):
    """Mini-batches of three and four responses."""
    tokenizer = toy_tokenizer()
    policy = half_learned_policy(tokenizer)

    def train(resources):
        folder = Path(os.environ["PEDIGREE_HOME"])
        model = store_model(policy, tokenizer, folder / "model")
        scorer = store_model(ScalarModel.from_causal(policy, 2), tokenizer, folder / "reward", "reward_model")
        config = PPOConfig(
            iterations=4, batch_size=7, max_new_tokens=12, lr=1e-3, evaluation_prompts=4, watch_every=2,
            watch_prompts=3, precision="fp32",
        )  # fmt: skip
        pairs = store_pairs(folder / "pairs")
        return ppo(model=model, reward_model=scorer, pairs=pairs, config=config, resources=resources)

    names = ("reward", "kl", "policy_loss", "value_loss", "grad_norm", "update_kl", "length", "heldout_gold")
    rewards = by_one_and_by_two(tmp_path, monkeypatch, train, metrics=[f"ppo/{name}" for name in names])
    assert len(rewards) == 4


def test_the_error_of_a_process_is_the_stage_s_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    config = PretrainConfig(**{**TINY, "batch_size": 1}, steps=2)
    with pytest.raises(ValueError, match=r"step 0 has 1 rows, too few for 2 processes; raise batch_size"):
        pretrain(tokens=tokens_artifact(), config=config, resources=Resources(nproc=2, threads=1, device="cpu"))


@pytest.mark.parametrize(("saved", "error"), [(5, TrainingStopped), (3, RuntimeError), (0, RuntimeError)])
def test_a_stop_counts_only_where_every_step_is_saved(tmp_path, monkeypatch, saved, error):
    """Processes that fail after SIGTERM, before they have saved, have failed."""
    run = StageRun(tmp_path / "output", tmp_path, tmp_path / "metrics.jsonl", logging.getLogger("test"))
    run.log_metrics({"train/loss": 1.0}, 90)  # of an attempt before, which was killed

    def processes(*_):
        run.log_metrics({"train/loss": 1.0}, 5)
        if saved:
            Checkpoints(tmp_path / "checkpoints").save(saved, {"a": torch.zeros(1)}, {})
        (tmp_path / "torchrun.log").write_text("out of memory")
        return 1, True

    monkeypatch.setattr(torchrun, "_supervise", processes)
    with pytest.raises(error, match="after 5 steps; a checkpoint is saved" if saved == 5 else "out of memory"):
        torchrun.train_under_torchrun(run, "pretrain", {}, PretrainConfig(), Resources(nproc=2))


@pytest.mark.parametrize(("inherited", "threads", "expected"), [("64", None, "3"), ("2", None, "2"), ("2", 5, "5"),
                                                                 (None, None, "3"), ("4,2", None, "3")])  # fmt: skip
def test_cores_are_shared_out_whatever_is_inherited(monkeypatch, inherited, threads, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if inherited:
        monkeypatch.setenv("OMP_NUM_THREADS", inherited)
    assert torchrun._environment(Resources(nproc=2, threads=threads))["OMP_NUM_THREADS"] == expected


def test_machines_need_a_place_to_meet():
    with pytest.raises(ValidationError, match=r"resources\.rendezvous"):
        Resources(nnodes=2)


def test_two_machines_meet_by_the_command_that_is_logged(tmp_path, monkeypatch, caplog):
    """Two torchrun agents on this machine, as two machines would have one each."""
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    caplog.set_level(logging.INFO, "pedigree.stage")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    resources = Resources(nproc=1, nnodes=2, rendezvous=f"127.0.0.1:{port}", threads=1, device="cpu")
    joined: list[int] = []

    def join() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for message in caplog.messages:
                if "machine 2 of 2; run there" in message:
                    command = shlex.split(message.partition("PEDIGREE_HOME: ")[2])
                    joined.append(
                        subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True).returncode
                    )
                    return
            time.sleep(0.1)

    other = threading.Thread(target=join)
    other.start()
    made = pretrain(tokens=tokens_artifact(), config=PretrainConfig(**TINY, steps=4), resources=resources)
    other.join()
    assert joined == [0]
    assert len(curve(made)) == 4 and Store().record(made.key).numerics["processes"] == 2
