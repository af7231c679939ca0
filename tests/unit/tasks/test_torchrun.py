"""A stage trained by two processes under torchrun (gloo, this machine): the same learning as by one."""

import logging
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

from tasks.finetune import FinetuneConfig, finetune
from tasks.lineage.stage_run import read_metrics
from tasks.lineage.store import Store
from tasks.pretrain import PretrainConfig, pretrain
from tasks.stage import Resources
from tests.tiny_artifacts import model_artifact, pairs_artifact, tokens_artifact

ROOT = Path(__file__).parents[3]
TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "context_length": 32, "batch_size": 7, "precision": "fp32", "evaluations": 2, "samples": 1,
}  # fmt: skip


def losses(artifact) -> list[float]:
    rows = read_metrics(Store().metrics_path(artifact.key))
    return [row["metrics"]["train/loss"] for row in rows if "train/loss" in row["metrics"]]


def by_one_and_by_two(tmp_path, monkeypatch, train, shard=False) -> list:
    """What `train(resources)` makes in a home of its own with one process and with two, which divide the model if
    `shard`; the losses must agree."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made, curves, weights = [], [], []
    for nproc in (1, 2):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(nproc)))
        made.append(train(Resources(nproc=nproc, shard=shard, threads=1, device="cpu")))
        curves.append(losses(made[-1]))
        weights.append(load_file(made[-1].path / "model" / "model.safetensors"))
        numerics = Store().record(made[-1].key).numerics
        assert numerics.get("processes", 1) == nproc and numerics.get("sharded", False) == (shard and nproc == 2)
    assert curves[0][-1] < curves[0][0] - 0.5, "it learns"
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)
    assert made[0].key == made[1].key, "how many processes trained is no part of the key"
    for name, tensor in weights[0].items():
        assert (weights[1][name] - tensor).abs().max() < 1e-3, name
    return curves[1]


def test_two_processes_that_divide_the_model_pretrain_as_one_does(tmp_path, monkeypatch):
    def train(resources):  # 7 rows: the ranks have 4 and 3
        return pretrain(tokens=tokens_artifact(), config=PretrainConfig(**TINY, steps=30), resources=resources)

    assert len(by_one_and_by_two(tmp_path, monkeypatch, train, shard=True)) == 30


def test_two_processes_finetune_as_one_does(tmp_path, monkeypatch):
    """Answers of unlike length, in micro-batches of unlike size: each counts by its tokens."""

    def train(resources):
        config = FinetuneConfig(batch_size=7, accumulation=2, steps=20, max_new_tokens=4, precision="fp32")
        pairs = pairs_artifact(finetune=30, validation=4, evaluation=2)
        return finetune(model=model_artifact(), pairs=pairs, config=config, resources=resources)

    assert len(by_one_and_by_two(tmp_path, monkeypatch, train)) == 20


def test_the_error_of_a_process_is_the_stage_s_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    config = PretrainConfig(**{**TINY, "batch_size": 1}, steps=2)
    with pytest.raises(ValueError, match=r"step 0 has 1 rows, too few .* of 2 processes; raise batch_size"):
        pretrain(tokens=tokens_artifact(), config=config, resources=Resources(nproc=2, threads=1, device="cpu"))


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
        deadline = time.monotonic() + 120
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
    assert len(losses(made)) == 4 and Store().record(made.key).numerics["processes"] == 2
