"""Histograms of what the rules measured, by kind of text and rule, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.text.rules import FEW_STOP_WORDS, NO_STOP_WORDS, RULES, UNDESIRABLE

SHARE_EDGES = np.linspace(0, 1, 41)  # what exceeds 1 counts in the last bin
COUNT_EDGES = np.concatenate(([0], 2.0 ** np.arange(0, 25.5, 0.5)))  # half octaves
_COUNTS = {rule.name for rule in RULES if not rule.is_share} | {NO_STOP_WORDS, FEW_STOP_WORDS, UNDESIRABLE}


class Histograms:
    """Counts of documents by kind, rule and bin."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, np.ndarray]] = {}

    def add(self, kind: str, rule: str, values: np.ndarray) -> None:
        """Count the measurements of documents of one kind."""
        edges = self.edges(rule)
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        held = self._held.setdefault(kind, {})
        held[rule] = held.get(rule, 0) + counts

    def merge(self, other: Histograms) -> None:
        """Add what another one counted."""
        for kind, rules in other._held.items():
            held = self._held.setdefault(kind, {})
            for rule, counts in rules.items():
                held[rule] = held.get(rule, 0) + counts

    @staticmethod
    def edges(rule: str) -> np.ndarray:
        """Bounds of the bins of a rule, (B + 1,)."""
        return COUNT_EDGES if rule in _COUNTS else SHARE_EDGES

    def as_json(self) -> dict[str, dict[str, dict[str, Any]]]:
        """kind → rule → {"edges", "counts"}; empty bins beyond the last filled one are left out."""
        told: dict[str, dict[str, dict[str, Any]]] = {}
        for kind in sorted(self._held):
            for rule in sorted(self._held[kind]):
                counts = self._held[kind][rule]
                last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
                edges = np.round(self.edges(rule)[: last + 1], 4)
                told.setdefault(kind, {})[rule] = {"edges": edges.tolist(), "counts": counts[:last].tolist()}
        return told
