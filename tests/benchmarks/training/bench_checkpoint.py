"""What periodic checkpoints cost, as a share of the time a training takes.

    python -m tests.benchmarks.training.bench_checkpoint

The training of the other benchmarks at the default interval, until two have been written.
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
SAVES = 2


def rows() -> list[Row]:
    """The one row."""
    took: list[float] = []
    ends: list[float] = []
    save, began = Checkpoints.save, time.perf_counter()

    def timed(*arguments: Any, **options: Any) -> Path:
        start = time.perf_counter()
        path = save(*arguments, **options)
        ends.append(time.perf_counter())
        took.append(ends[-1] - start)
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
            should_stop=lambda: len(took) >= SAVES,
        )
    # The stop saves once more, which is not counted.
    seconds, elapsed = sum(took[:SAVES]), ends[SAVES - 1] - began
    share = 100 * seconds / elapsed
    note = f"{SAVES} checkpoints of {1000 * seconds / SAVES:.0f} ms in {elapsed:.0f} s"
    versions = {"torch": torch.__version__}
    return [Row("checkpoint cost", "training time", share, 2.0, 2.0 / share, "% of the time", versions, 1.0, note)]


if __name__ == "__main__":
    found = rows()
    write("training", found)
    show("Checkpoints", found)
