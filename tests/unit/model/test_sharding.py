"""A model divided over two processes (gloo, this machine): the learning of one, and checkpoints for any number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoints
from model.sharding import rows_of
from tests.sharded_training import EVERY, STEPS, work

ROOT = Path(__file__).parents[3]
STOP = 4
OPTIMIZERS = ["adamw", "muon"]


def by_two(folder: Path, trainings: list[dict]) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1",
            "--nproc-per-node=2", "tests/sharded_training.py", str(folder), json.dumps(trainings),
        ],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings by one process and by two, whole and stopped, and what went on from where they stopped."""
    folder = tmp_path_factory.mktemp("sharding")
    sharded = []
    for optimizer in OPTIMIZERS:
        own = {"optimizer": optimizer, "shard": True}
        work(folder, {**own, "name": f"one-{optimizer}"})
        work(folder, {**own, "name": f"one-{optimizer}-stopped", "stop": STOP})
        sharded += [
            {**own, "name": f"two-{optimizer}"},
            {**own, "name": f"two-{optimizer}-stopped", "stop": STOP},
            {**own, "name": f"two-{optimizer}-from-two", "from": f"two-{optimizer}-stopped"},
            {**own, "name": f"two-{optimizer}-from-one", "from": f"one-{optimizer}-stopped"},
        ]
    kernels = {"optimizer": "muon", "shard": True, "kernels": True}
    work(folder, {**kernels, "name": "one-kernels"})
    by_two(folder, [*sharded, {**kernels, "name": "two-kernels"}])
    for optimizer in OPTIMIZERS:
        own = {"optimizer": optimizer, "shard": True}
        work(folder, {**own, "name": f"one-{optimizer}-from-two", "from": f"two-{optimizer}-stopped"})
    return folder


def curve(folder: Path, name: str) -> torch.Tensor:
    """Loss and gradient norm of each step, (steps, 2)."""
    return torch.tensor(json.loads((folder / name / "curve.json").read_text()))


def files(folder: Path, name: str) -> dict[str, bytes]:
    newest = max((folder / name / "checkpoints").glob("step-*"))
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_processes_with_half_a_model_each_learn_as_one_does(folder, optimizer):
    one, two = curve(folder, f"one-{optimizer}"), curve(folder, f"two-{optimizer}")
    assert len(one) == STEPS and one[-1, 0] < one[0, 0] - 1, "it learns"
    torch.testing.assert_close(two, one, rtol=0, atol=1e-4)
    weights = [Checkpoints(folder / f"{by}-{optimizer}" / "checkpoints").newest().tensors for by in ("one", "two")]
    assert weights[0].keys() == weights[1].keys(), "joined, the rows are the tensors of one process"
    for name in (name for name in weights[0] if not name.startswith("random.")):
        torch.testing.assert_close(weights[1][name], weights[0][name], rtol=0, atol=1e-3, msg=name)


def test_two_processes_learn_by_kernels_as_one_does(folder):
    one, two = curve(folder, "one-kernels"), curve(folder, "two-kernels")
    assert one[-1, 0] < one[0, 0] - 1, "it learns"
    torch.testing.assert_close(two, one, rtol=0, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("before", "after"), [("two", "one"), ("one", "two")])
def test_another_number_of_processes_goes_on(folder, optimizer, before, after):
    resumed = curve(folder, f"{after}-{optimizer}-from-{before}")
    torch.testing.assert_close(resumed, curve(folder, f"one-{optimizer}")[STOP:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_as_many_processes_go_on_to_the_same_bytes(folder, optimizer):
    whole, resumed = files(folder, f"two-{optimizer}"), files(folder, f"two-{optimizer}-from-two")
    assert sorted(whole) == ["tensors-00001-of-00002.safetensors", "tensors-00002-of-00002.safetensors"]
    assert resumed == whole


def test_each_process_writes_about_half(folder):
    sizes = [len(content) for content in files(folder, "two-adamw").values()]
    one = len(files(folder, "one-adamw")["tensors.safetensors"])
    assert max(sizes) < 0.65 * one, "the first has the generators besides"


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_damaged_part_of_one_process_damages_the_checkpoint(folder, tmp_path, damage, caplog):
    own = tmp_path / "checkpoints"
    for step in sorted((folder / "two-muon" / "checkpoints").glob("step-*")):
        (own / step.name).mkdir(parents=True)
        for path in step.iterdir():
            (own / step.name / path.name).write_bytes(path.read_bytes())
    part = max(own.glob("step-*")) / "tensors-00002-of-00002.safetensors"
    content = part.read_bytes()
    part.unlink()
    if damage == "flip":
        part.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    assert Checkpoints(own).newest().step == STEPS // EVERY * EVERY
    assert "is damaged" in caplog.text


@pytest.mark.parametrize(("rows", "size"), [(5, 2), (4, 3), (1, 4), (0, 2), (7, 7)])
def test_rows_are_cut_as_torch_cuts_them(rows, size):
    whole = torch.arange(rows)
    parts = [whole[rows_of(rows, rank, size)].tolist() for rank in range(size)]
    assert [part for part in parts if part] == [chunk.tolist() for chunk in whole.chunk(size) if len(chunk)]
