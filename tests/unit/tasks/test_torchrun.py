"""A stage trained by two processes under torchrun (gloo, this machine): the same learning as by one."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from tasks.lineage.stage_run import read_metrics
from tasks.lineage.store import Store
from tasks.pretrain import PretrainConfig, pretrain
from tasks.stage import Resources
from tests.tiny_artifacts import tokens_artifact

ROOT = Path(__file__).parents[3]
TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "context_length": 32, "batch_size": 7, "precision": "fp32", "evaluations": 2, "samples": 1,
}  # fmt: skip


def losses(artifact) -> list[float]:
    rows = read_metrics(Store().metrics_path(artifact.key))
    return [row["metrics"]["train/loss"] for row in rows if "train/loss" in row["metrics"]]


def test_two_processes_learn_as_one_does(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    curves, weights, keys = [], [], []
    for nproc in (1, 2):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(nproc)))
        made = pretrain(
            tokens=tokens_artifact(),
            config=PretrainConfig(**TINY, steps=30),  # 7 rows: the ranks have 4 and 3
            resources=Resources(nproc=nproc, threads=1, device="cpu"),
        )
        curves.append(losses(made))
        weights.append(load_file(made.path / "model" / "model.safetensors"))
        keys.append(made.key)
        assert Store().record(made.key).numerics.get("processes", 1) == nproc
    assert len(curves[0]) == 30 and curves[0][-1] < curves[0][0] - 0.5
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)
    assert keys[0] == keys[1], "how many processes trained is no part of the key"
    for name, tensor in weights[0].items():
        assert (weights[1][name] - tensor).abs().max() < 1e-3, name
