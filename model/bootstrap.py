"""Percentile bootstrap intervals (Efron 1979) of a mean, and of a ratio of sums."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from model.seeding import numpy_generator

_ELEMENTS_AT_ONCE = 4_000_000  # 32 MB of indices


class NonFiniteValues(ValueError):
    """A value or weight is NaN or infinite."""


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    mean: float
    low: float
    high: float

    def metrics(self, name: str) -> dict[str, float]:
        """The estimate under `name`, its ends under `name`_low and `name`_high."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def bootstrap_interval(
    values: ArrayLike,
    seed: int = 0,
    *,
    weights: ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of `values` and its interval, resampling the values with replacement.

    With `weights` the estimate is Σ values / Σ weights (bits over bytes, say), numerator and denominator of one unit
    being drawn together. `values` and `weights`: (N,), N ≥ 1; each value is one independent unit (a document, a
    prompt). Raises ValueError if they are empty or not one-dimensional, NonFiniteValues if they are not finite.
    """
    numerators = np.asarray(values, dtype=np.float64)
    denominators = np.ones_like(numerators) if weights is None else np.asarray(weights, dtype=np.float64)
    if numerators.ndim != 1 or numerators.size == 0 or denominators.shape != numerators.shape:
        raise ValueError(
            f"bootstrap needs one value (and weight) for each of at least one unit; "
            f"got shapes {numerators.shape} and {denominators.shape}"
        )
    if not (np.isfinite(numerators).all() and np.isfinite(denominators).all()):
        raise NonFiniteValues("bootstrap needs finite values; drop or repair the units that are NaN or infinite first")
    random = numpy_generator(seed, "bootstrap")
    estimates = np.empty(resamples)
    rows = max(1, _ELEMENTS_AT_ONCE // numerators.size)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = random.integers(0, numerators.size, (count, numerators.size))
        estimates[start : start + count] = numerators[drawn].sum(1) / denominators[drawn].sum(1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return Interval(float(numerators.sum() / denominators.sum()), float(low), float(high))
