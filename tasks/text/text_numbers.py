"""Numbers for texts by their 128-bit digests, in the order in which they are first met, in 24 bytes of memory each."""

from __future__ import annotations

import numpy as np


class TextNumbers:
    """The digests met so far. They lie in sorted runs whose sizes at least halve, as in a log-structured merge tree."""

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []  # (digests (T, 2), numbers (T,)), by first half
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def number(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number of each text, (N, 2) uint64 → (N,), and the places of those not met before, rising."""
        order = stable_order(digests[:, 0])  # what rises is sooner found
        digests, numbers = digests[order], np.full(len(digests), -1)
        for known, theirs in self._runs:
            unknown = np.flatnonzero(numbers < 0)
            places = find(known, digests[unknown])
            numbers[unknown[places >= 0]] = theirs[places[places >= 0]]
        unknown = np.flatnonzero(numbers < 0)
        first, doubtful = _differ_from_the_one_before(digests[unknown])
        if doubtful:
            unknown = unknown[np.lexsort((order[unknown], digests[unknown, 1], digests[unknown, 0]))]
            first, _ = _differ_from_the_one_before(digests[unknown])
        firsts = unknown[first]  # of each text, where it is met first
        by_place = np.argsort(order[firsts])
        numbers[firsts[by_place]] = self._count + np.arange(len(firsts))
        numbers[unknown] = numbers[firsts][np.cumsum(first) - 1]
        self._count += len(firsts)
        self._keep(digests[firsts], numbers[firsts])
        result = np.empty_like(numbers)
        result[order] = numbers
        return result, order[firsts[by_place]]

    def _keep(self, digests: np.ndarray, numbers: np.ndarray) -> None:
        while self._runs and len(self._runs[-1][1]) < 2 * len(numbers):
            others, theirs = self._runs.pop()
            digests, numbers = np.concatenate((others, digests)), np.concatenate((theirs, numbers))
            order = np.argsort(digests[:, 0])
            digests, numbers = digests[order], numbers[order]
        if len(numbers):
            self._runs.append((np.asfortranarray(digests), numbers))  # each half in one piece, as it is searched

    def digests(self) -> np.ndarray:
        """All digests by their numbers, (T, 2) uint64."""
        result = np.empty((self._count, 2), np.uint64)
        for digests, numbers in self._runs:
            result[numbers] = digests
        return result


def stable_order(hashes: np.ndarray) -> np.ndarray:
    """``np.argsort(hashes, kind="stable")``, of (N,) uint64, several times sooner: numpy sorts numbers by vectors, and
    the place of each can stand in its lowest bits, which hashes seldom need to differ."""
    bits = np.uint64((max(len(hashes), 1) - 1).bit_length())
    marked = np.sort(hashes >> bits << bits | np.arange(len(hashes), dtype=np.uint64))
    order = (marked & (np.uint64(1) << bits) - np.uint64(1)).astype(np.int64)
    ordered = hashes[order]
    if (ordered[1:] < ordered[:-1]).any():  # some differ in these bits alone
        return np.argsort(hashes, kind="stable")
    return order


def _differ_from_the_one_before(digests: np.ndarray) -> tuple[np.ndarray, bool]:
    """Whether each digest, (N, 2), differs from the one before it, (N,); and whether any does in its second half alone,
    so that an order by first halves may not have brought equal ones together."""
    first, second = (half[1:] != half[:-1] for half in digests.T)
    return np.concatenate((np.ones(min(len(digests), 1), bool), first | second)), bool((second & ~first).any())


def find(known: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """Place of each digest, (N, 2) uint64, in `known`, (T, 2), whose first halves rise; −1: in none, (N,)."""
    if not len(known):
        return np.full(len(digests), -1)
    places = np.minimum(np.searchsorted(known[:, 0], digests[:, 0]), len(known) - 1)
    alike = known[places, 0] == digests[:, 0]
    met = alike & (known[places, 1] == digests[:, 1])
    doubtful = np.flatnonzero(alike & ~met)  # first halves that are equal by chance
    for row in doubtful.tolist():
        place = int(places[row])
        while place < len(known) and known[place, 0] == digests[row, 0] and not met[row]:
            met[row] = known[place, 1] == digests[row, 1]
            places[row] = place
            place += 1
    return np.where(met, places, -1)
