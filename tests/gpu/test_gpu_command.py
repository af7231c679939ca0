"""`python -m model` on a GPU, from a text to a model that transformers opens: killed, under torchrun, compiled."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from model.export import load_causal
from tests.on_gpu import DEVICE, learn, needs_gpu
from tests.one_of_many import CONFIG

pytestmark = needs_gpu
ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"]
SETTINGS = ["--preset", "test", "--steps", "60", "--held-out-bytes", "20000", "--precision", "bf16"]


def command(*arguments: str) -> list[str]:
    return ["-m", "model", *arguments, "--device", DEVICE.type, "--json"]


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def answer(*arguments: str) -> dict:
    process = start(*arguments)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors[-4000:]
    return json.loads(output)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("\n\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def whole(text: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("whole") / "model"
    return out, answer(*command("train", "--text", text, "--out", str(out), *SETTINGS))


def test_it_learns_writes_and_measures(whole: tuple[Path, dict], text: str):
    out, learned = whole
    assert learned["bits_per_byte"] < learned["bits_per_byte_before"] - 0.5
    written = answer(*command("generate", "--model", str(out), "--prompt", "The", "--greedy", "--max-new-tokens", "20"))
    assert written["text"] and written["tokens"] <= 20
    assert answer(*command("eval", "--model", str(out), "--text", text))["bits_per_byte"] < 8


def test_transformers_opens_what_it_made(whole: tuple[Path, dict]):
    model, tokenizer = load_causal(whole[0])
    theirs, reading = AutoModelForCausalLM.from_pretrained(whole[0]), AutoTokenizer.from_pretrained(whole[0])
    ids = tokenizer.encode("The statement is executed")
    assert reading("The statement is executed")["input_ids"] == ids
    rows = torch.tensor([ids], device=DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(model.to(DEVICE)(rows), theirs.to(DEVICE)(rows).logits, atol=1e-4, rtol=0)


def test_killed_twice_it_ends_with_the_same_bytes(whole: tuple[Path, dict], text: str, tmp_path: Path):
    out = tmp_path / "model"
    often = command("train", "--text", text, "--out", str(out), *SETTINGS, "--checkpoint-seconds", "0")
    for after in (5, 30):
        process = start(*often)
        until_saved(process, out / "training" / "checkpoints", after)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert answer(*often) == {**whole[1], "model": str(out)}
    assert (out / "model.safetensors").read_bytes() == (whole[0] / "model.safetensors").read_bytes()


def until_saved(process: subprocess.Popen[str], checkpoints: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while not any(int(path.name[5:]) >= step for path in checkpoints.glob("step-*")):
        assert process.poll() is None, process.communicate()[1][-4000:]
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.01)


def test_one_process_of_torchrun_learns_the_same(whole: tuple[Path, dict], text: str, tmp_path: Path):
    out = tmp_path / "model"
    learned = answer(*TORCHRUN, *command("train", "--text", text, "--out", str(out), *SETTINGS))
    assert learned["bits_per_byte"] == whole[1]["bits_per_byte"]
    assert (out / "model.safetensors").read_bytes() == (whole[0] / "model.safetensors").read_bytes()


def test_sums_over_processes_and_a_divided_model_change_nothing():
    alone = learn(CONFIG, packed=True).losses
    for losses in answer(*TORCHRUN, "-m", "tests.one_of_many"):
        assert losses == pytest.approx(alone, rel=1e-5)
