"""What periodic checkpoints cost, as a share of the time a training takes.

    python -m tests.benchmarks.training.bench_checkpoint

The training of the other benchmarks, at the default interval, for a little more than two intervals.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from model.checkpoint import Checkpoints
from model.config import ModelConfig
from model.losses import language_modelling_loss
from model.training import TrainingConfig, TrainingStopped, train
from model.transformer import Transformer
from tests.benchmarks.rows import Row, show, write
from tests.benchmarks.training.side import SHAPE, batch

INTERVAL = 30.0  # seconds: the default of every training stage
SECONDS = 2 * INTERVAL + 5


def rows() -> list[Row]:
    """The one row."""
    took: list[float] = []
    save, began = Checkpoints.save, time.perf_counter()

    def timed(*arguments: Any) -> Path:
        start = time.perf_counter()
        path = save(*arguments)
        took.append(time.perf_counter() - start)
        return path

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Checkpoints, "save", timed),
        contextlib.suppress(TrainingStopped),
    ):
        train(
            Transformer(ModelConfig(**SHAPE)),  # type: ignore[arg-type]
            batch,
            language_modelling_loss,
            TrainingConfig(steps=1_000_000),
            checkpoint_dir=Path(folder),
            checkpoint_seconds=INTERVAL,
            should_stop=lambda: time.perf_counter() - began > SECONDS,
        )
    *periodic, _ = took  # the last is that of the stop
    share = 100 * sum(periodic) / (2 * INTERVAL)
    note = f"{len(periodic)} checkpoints of {1000 * sum(periodic) / len(periodic):.0f} ms in {2 * INTERVAL:.0f} s"
    versions = {"torch": torch.__version__}
    return [Row("checkpoint cost", "training time", share, 2.0, 2.0 / share, "% of the time", versions, 1.0, note)]


if __name__ == "__main__":
    found = rows()
    write("training", found)
    show("Checkpoints", found)
