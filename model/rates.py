"""Which peak learning rate of Muon a model of some size wants: a rule fitted to a search on small models.

    lr = 0.0203 · (width/64)^-0.96 · (layers/3)^0.11 · (steps/200)^-0.58 · (tokens a step/1024)^0.07

`tests/benchmarks/training/bench_lr_fit.py` made the search and the fit, `docs/training.md` says how well it does. The
exponents are what was measured and follow from no theory (μP's for Adam is -1 of the width; Yang et al. 2022). So the
rule holds for sizes like those that were searched.
"""

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Size:
    """What the rate depends on."""

    width: int
    layers: int
    steps: int
    batch_tokens: int  # a step

    def beside(self, other: "Size") -> dict[str, float]:
        """Logarithms of how many times as large as `other` this is."""
        return {name: math.log(value / getattr(other, name)) for name, value in asdict(self).items()}


BASE, BASE_RATE = Size(width=64, layers=3, steps=200, batch_tokens=1024), 0.0203
EXPONENTS = {"width": -0.96, "layers": 0.11, "steps": -0.58, "batch_tokens": 0.07}
LEAST, MOST = Size(32, 3, 200, 1024), Size(128, 6, 800, 4096)  # that were searched


def fitted_rate(size: Size) -> float:
    """The rule's peak rate of matrices; that of embeddings and norms is 0.75 of it, as in the search."""
    return BASE_RATE * math.exp(sum(EXPONENTS[name] * ratio for name, ratio in size.beside(BASE).items()))


def beyond(size: Size) -> float:
    """How many times smaller or larger than what was searched, in the worst direction; 1 within."""
    below, above = size.beside(LEAST), size.beside(MOST)
    return math.exp(max(0.0, *above.values(), *(-ratio for ratio in below.values())))
