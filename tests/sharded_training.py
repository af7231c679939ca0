"""Trainings of a tiny Transformer, alone or as one process of torchrun's: `… sharded_training.py FOLDER JSON`.

JSON: a list of {"name", "optimizer", "shard", "stop" (after so many steps), "from" (whose checkpoints to go on from),
"kernels" (sizes that model/fused.py was made for)}, the last three if wanted. Each leaves FOLDER/NAME/checkpoints and,
by the first process, FOLDER/NAME/curve.json.
"""

import dataclasses
import json
import os
import shutil
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig
from model.distributed import Ranks, process_group
from model.losses import language_modelling_loss
from model.seeding import generator
from model.stopping import TrainingStopped
from model.training import TrainingConfig, train
from model.transformer import Transformer

STEPS, EVERY = 8, 3  # a checkpoint is written every so many steps, and after the last
SIZES = ModelConfig(  # 37 tokens and 33 rows do not divide by two; norms of 18
    vocab_size=37, hidden_size=18, intermediate_size=33, num_hidden_layers=2, num_attention_heads=3,
    num_key_value_heads=1, max_position_embeddings=16,
)  # fmt: skip
FITTING = dataclasses.replace(SIZES, hidden_size=48, intermediate_size=80, head_dim=32)


def batches(step: int) -> dict[str, Tensor]:
    ids = torch.randint(0, 37, (5, 1), generator=generator(0, "batch", step))
    ids = (ids + torch.arange(13) * 5) % 37
    mask = torch.rand(5, 12, generator=generator(0, "mask", step)) < 0.7
    return {"input_ids": ids[:, :-1], "targets": ids[:, 1:], "loss_mask": mask}


def work(folder: Path, given: dict[str, Any]) -> None:
    own = folder / given["name"]
    ranks = Ranks.here()
    if ranks.first and given.get("from"):
        shutil.copytree(folder / given["from"], own)
    ranks.wait()
    curve: list[list[float]] = []  # of each step the loss and the norm of its gradient
    model = Transformer(FITTING if given.get("kernels") else SIZES)
    config = TrainingConfig(steps=STEPS, lr=0.03, optimizer=given["optimizer"], accumulation=2, grad_clip=0.5, seed=3)
    stop = given.get("stop")
    with suppress(TrainingStopped):
        train(
            model,
            batches,
            language_modelling_loss,
            config,
            checkpoint_dir=own / "checkpoints",
            checkpoint_seconds=1e6,
            checkpoint_steps=EVERY,
            divide_model=given["shard"],
            on_step=lambda step, figures: curve.append([figures["loss"], figures["grad_norm"]]),
            evaluate=lambda step: {"eval": float(language_modelling_loss(model, batches(99))[0])},
            evaluate_every=3,
            should_stop=(lambda: len(curve) >= stop) if stop else None,
        )
    if ranks.first:
        (own / "curve.json").write_text(json.dumps(curve))


if __name__ == "__main__":
    torch.set_num_threads(1)
    together = process_group(torch.device("cpu")) if "RANK" in os.environ else nullcontext()
    with together:
        for training in json.loads(sys.argv[2]):
            work(Path(sys.argv[1]), training)
