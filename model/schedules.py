"""Learning-rate schedules as pure functions of the step: a factor in (0, 1] that multiplies every group's rate."""

import math
from typing import Literal

Schedule = Literal["wsd", "cosine", "constant", "range"]
RANGE = 1e5  # how many times the last rate of "range" is the first


def learning_rate_factor(
    schedule: Schedule, step: int, steps: int, *, warmup_fraction: float = 0.03, decay_fraction: float = 0.6
) -> float:
    """The factor at `step` (0-based) of `steps`.

    All warm up linearly over the first `warmup_fraction` of the steps, reaching 1 at its last. Then
    * "wsd" (warm-up–stable–decay; Hu et al. 2024, MiniCPM): 1 until the last `decay_fraction`, then linear towards 0,
      which it would reach one step after the end, so that the last step still learns;
    * "cosine" (Loshchilov & Hutter 2017): half a cosine from 1 towards 0;
    * "constant": 1;
    * "range" (Smith 2017, learning-rate range test), without warm-up: growing by equal factors from 1/RANGE to 1.
    """
    if schedule == "range":
        return RANGE ** (step / max(1, steps - 1) - 1)
    warmup = min(steps, round(warmup_fraction * steps))
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    decay = min(steps - warmup, round(decay_fraction * steps))
    return min(1.0, (steps - step) / decay) if decay else 1.0
