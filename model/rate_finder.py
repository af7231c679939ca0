"""The learning-rate range test (Smith 2017, "Cyclical learning rates", section 3.3).

One short training, whose rate grows from next to nothing until the loss breaks out.

The suggestion is a fraction of the rate at which the smoothed loss is lowest, since a long training wants a lower peak
than what a model stands for a few steps; `docs/training.md` says how far it lay from the best rate of a search.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from model.schedules import RANGE
from model.stopping import TrainingStopped
from model.training import Batches, Loss, NonFiniteLoss, TrainingConfig, train

SMOOTHING = 0.9  # of the exponential average of the loss
BROKEN = 1.5  # times the lowest smoothed loss: the test ends
SHARE = 0.1  # of the rate with the lowest loss


@dataclass(frozen=True)
class RatePoint:
    """A step of the test: its rate, its loss, and the average of the losses up to it."""

    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class RateTest:
    """What a range test found. `lowest`: the rate with the lowest smoothed loss; `suggested`: SHARE of it."""

    points: Sequence[RatePoint]
    lowest: float
    suggested: float
    broke: bool  # whether the loss broke out before the highest rate


def find_rate(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    config: TrainingConfig,
    *,
    highest: float = 1.0,
    steps: int = 100,
    device: str = "cpu",
    compile: bool = False,
) -> RateTest:
    """Trains `model` in place (throw it away) for `steps` steps at rates from `highest`/RANGE to `highest`.

    Everything but schedule, steps and rate is as in `config`; the rates of embeddings and norms keep their ratio to
    `config.lr`. Raises ValueError for fewer than 20 steps, NonFiniteLoss where the very first breaks.
    """
    if steps < 20:
        raise ValueError(f"{steps} steps are too few for a range test over {math.log10(RANGE):.0f} decades: give 20")
    ratio = 1.0 if config.adamw_lr is None else config.adamw_lr / config.lr
    test = dataclasses.replace(
        config, steps=steps, schedule="range", lr=highest, adamw_lr=highest * ratio, spike_deviations=None
    )
    points: list[RatePoint] = []

    def on_step(step: int, figures: dict[str, float]) -> None:
        average = SMOOTHING * (points[-1].smoothed * (1 - SMOOTHING ** (step - 1)) if points else 0.0)
        average += (1 - SMOOTHING) * figures["loss"]
        points.append(RatePoint(figures["lr"], figures["loss"], average / (1 - SMOOTHING**step)))

    def broken() -> bool:
        return points[-1].smoothed > BROKEN * min(point.smoothed for point in points)

    broke = False
    try:
        train(model, batches, loss, test, device=device, compile=compile, on_step=on_step, should_stop=broken)
    except (TrainingStopped, NonFiniteLoss):
        if not points:
            raise
        broke = True
    lowest = min(points, key=lambda point: point.smoothed).lr
    return RateTest(points, lowest, SHARE * lowest, broke)
