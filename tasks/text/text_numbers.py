"""Numbers for texts by their 128-bit digests, in the order in which they are first met."""

from __future__ import annotations

import numpy as np

_FEWEST = 1 << 12  # slots of a table


class TextNumbers:
    """The digests met so far, in 24 to 48 bytes of memory each. compiled: they lie in a table that machine code
    searches (digest_table.py), else in a dictionary, which takes several times the memory."""

    def __init__(self, compiled: bool = False) -> None:
        self._compiled, self._count = compiled, 0
        self._numbers: dict[bytes, int] = {}
        self._known, self._slots = np.empty((_FEWEST // 2, 2), np.uint64), np.zeros(_FEWEST, np.uint32)

    def __len__(self) -> int:
        return self._count

    def number(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each text, (N, 2) uint64 → (N,), and the places of those not met before, rising."""
        met = self._count
        if self._compiled:
            self._make_room(met + len(digests))
            numbers = self._looked_up(digests, adds=True)
            self._count = max(met, int(numbers.max(initial=-1)) + 1)
        else:
            known = self._numbers
            numbers = np.array([known.setdefault(digest, len(known)) for digest in _as_bytes(digests)], np.int64)
            self._count = len(known)
        highest = np.maximum.accumulate(np.concatenate(([met - 1], numbers)))
        return numbers, np.flatnonzero(highest[1:] > highest[:-1])

    def find(self, digests: np.ndarray) -> np.ndarray:
        """The number of each text, (N, 2) uint64 → (N,), −1 of one that was not met."""
        if self._compiled:
            return self._looked_up(digests, adds=False)
        return np.array([self._numbers.get(digest, -1) for digest in _as_bytes(digests)], np.int64)

    def digests(self) -> np.ndarray:
        """All digests by their numbers, (T, 2) uint64."""
        if self._compiled:
            return self._known[: self._count]
        return np.frombuffer(b"".join(self._numbers), np.uint64).reshape(-1, 2)

    def _looked_up(self, digests: np.ndarray, adds: bool) -> np.ndarray:
        from tasks.text import digest_table, kernels  # numba takes longer to load than few texts to number

        digests = digests.view()
        digests.flags.writeable = False  # as some are: else machine code would be made for each kind
        found: np.ndarray = kernels.kept(digest_table.number)(digests, self._known, self._slots, self._count, adds)
        return found

    def _make_room(self, count: int) -> None:
        """For so many digests, which leave half of the slots empty."""
        from tasks.text import digest_table, kernels

        if 2 * count <= len(self._slots):
            return
        known, self._slots = self._known, np.zeros(1 << (2 * count - 1).bit_length(), np.uint32)
        self._known = np.empty((len(self._slots) // 2, 2), np.uint64)
        self._known[: self._count] = known[: self._count]
        kernels.kept(digest_table.place)(self._known[: self._count], self._slots)


def _as_bytes(digests: np.ndarray) -> list[bytes]:
    found: list[bytes] = np.ascontiguousarray(digests).view("V16").ravel().tolist()
    return found
