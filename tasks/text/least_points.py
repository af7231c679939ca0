"""A sample of texts by hash: which are in it depends neither on their order nor on the batches they come in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


class Sample:
    """Those of least point, up to `limit` bytes and at least one. Holds twice that at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[tuple[float, str]] = []
        self._bytes = 0
        self._cut = np.inf  # a text at or above it can no longer be chosen

    def add(self, points: np.ndarray, texts: pa.ChunkedArray) -> None:
        """Offer texts, (N,), with their points in [0, 1), or infinity for those that must not be chosen."""
        rows = np.flatnonzero(points < self._cut)
        for point, text in zip(points[rows].tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
            self._held.append((point, text))
            self._bytes += len(text.encode())
        if self._bytes > 2 * self._limit:
            self._prune()

    def _prune(self) -> None:
        self._held.sort()
        before = np.cumsum([0, *(len(text.encode()) for _, text in self._held)])
        count = int(np.searchsorted(before, self._limit))  # the last text may go beyond the limit
        if count < len(self._held):
            self._cut = self._held[count][0]
        self._held, self._bytes = self._held[:count], int(before[min(count, len(self._held))])

    def texts(self) -> list[str]:
        """The chosen texts, in order of point."""
        self._prune()
        return [text for _, text in self._held]
