"""Loss spikes: an update whose loss or gradient norm stands far out is skipped, by a rule of the past steps alone.

Training on web text meets batches that throw a model back for hundreds of steps (Chowdhery et al. 2022, PaLM, section
5.1, who restarted 100 steps earlier and left such batches out). Leaving the update out when it shows needs no restart:
the rule is that of the skipped steps in OLMo 2 (OLMo team 2024), a number of standard deviations over the mean of the
last 128 steps. The history is part of a checkpoint, so a resumed run skips the same steps.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

WINDOW = 128  # steps that a step is compared with
FEWEST = WINDOW // 2  # before so many nothing is judged: a loss that falls fast at first looks like anything


class SpikeRule:
    """Judges each step by the loss and the gradient norm of those before it.

    deviations: so many standard deviations over the mean is a spike; 6 skips next to nothing in a healthy run.
    """

    def __init__(self, deviations: float) -> None:
        self.deviations = deviations
        self.num_skipped = 0
        self._history: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def is_spike(self, loss: float, grad_norm: float) -> bool:
        """Whether the update of this step should be left out. Both figures enter the history either way, so that a
        lasting change of level stops being one after some steps."""
        spike = len(self._history) >= FEWEST and (
            self._stands_out(loss, [past[0] for past in self._history])
            or self._stands_out(grad_norm, [past[1] for past in self._history])
        )
        self._history.append((loss, grad_norm))
        self.num_skipped += spike
        return spike

    def _stands_out(self, value: float, past: Sequence[float]) -> bool:
        mean = math.fsum(past) / len(past)
        deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in past) / (len(past) - 1))
        return value > mean + self.deviations * deviation

    def state(self) -> dict[str, Any]:
        """The history and the count, as JSON keeps them exactly."""
        return {"history": [list(pair) for pair in self._history], "num_skipped": self.num_skipped}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` gave."""
        self._history.clear()
        self._history.extend((loss, grad_norm) for loss, grad_norm in state["history"])
        self.num_skipped = state["num_skipped"]
