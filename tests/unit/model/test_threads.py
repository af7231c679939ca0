"""What another number of threads changes: not the recipe, and of the result no more than rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, json, sys
import torch
from model.losses import language_modelling_loss
from model.seeding import generator
from model.training import TrainingConfig, train
from tests.one_batch import language_model

torch.set_num_threads(int(sys.argv[1]))
# wide enough that PyTorch splits its work: it does so from 32,768 numbers on
model = language_model(vocab_size=256, context=64, hidden_size=64, intermediate_size=128)
losses = []

def batches(step):
    ids = torch.arange(65) * 3 + torch.randint(0, 256, (16, 1), generator=generator(0, step))
    ids = ids % 256
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}

train(model, batches, language_modelling_loss, TrainingConfig(steps=12, lr=0.01),
      on_step=lambda step, figures: losses.append(figures["loss"]))
digest = hashlib.sha256()
for name, tensor in sorted(model.state_dict().items()):
    digest.update(tensor.numpy().tobytes())
print(json.dumps({"losses": losses, "digest": digest.hexdigest(), "threads": torch.get_num_threads()}))
"""


def learn(threads: int) -> dict:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(threads)], cwd=Path(__file__).parents[3], env=environment,
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_equal_threads_give_equal_bytes_and_others_the_same_curve() -> None:
    one, again, two = learn(1), learn(1), learn(2)
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one == again
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert one["losses"][-1] < one["losses"][0] - 0.3, "it learned too little to say anything"
