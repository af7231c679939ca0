"""Paragraphs that several documents hold: licences, boilerplate, passages quoted whole.

A paragraph is text between blank lines. Two are the same if their words are, whatever their case and spacing; they are
known by 64-bit hashes, of which memory holds 16 bytes for each paragraph that is long enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import xxhash

_BREAK = re.compile(r"(\n[^\S\n]*\n\s*)")


class RepeatedParagraphs:
    """Which paragraphs of at least `min_chars` several documents hold. Show it all documents, then ask.

    A paragraph belongs to the document of the least rank; from the others it is taken out.
    """

    def __init__(self, min_chars: int) -> None:
        self._min_chars = min_chars
        self._hashes: list[np.ndarray] = [np.zeros(0, np.uint64)]
        self._ranks: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._owners: dict[int, int] = {}

    def show(self, texts: Iterable[str], ranks: Iterable[int]) -> None:
        """Documents and their ranks, which differ."""
        found = [
            (hashed, rank)
            for text, rank in zip(texts, ranks, strict=True)
            for _, hashed in self._pieces(text)
            if hashed
        ]
        self._hashes.append(np.array([hashed for hashed, _ in found], np.uint64))
        self._ranks.append(np.array([rank for _, rank in found], np.int64))

    def seal(self) -> None:
        """All documents were shown."""
        hashes, ranks = np.concatenate(self._hashes), np.concatenate(self._ranks)
        self._hashes, self._ranks = [], []
        order = np.lexsort((ranks, hashes))
        hashes, ranks = hashes[order], ranks[order]
        starts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1]))) if len(hashes) else order
        repeated = np.diff(np.append(starts, len(hashes))) > 1
        self._owners = dict(zip(hashes[starts[repeated]].tolist(), ranks[starts[repeated]].tolist(), strict=True))

    def without(self, text: str, rank: int) -> str:
        """The text without the paragraphs that stand in a document of lesser rank, or in itself before."""
        met: set[int] = set()
        kept: list[str] = []
        gone = False
        for piece, hashed in self._pieces(text):
            if hashed in self._owners and (self._owners[hashed] < rank or hashed in met):
                gone = True
                continue
            met.add(hashed)
            kept.append(piece)
        return "".join(kept).strip("\n") if gone else text

    def _pieces(self, text: str) -> list[tuple[str, int]]:
        """Paragraphs, each with the blank lines after it, and its hash; 0 if it is too short."""
        parts = [*_BREAK.split(text), ""]
        return [(parts[place] + parts[place + 1], self._hash(parts[place])) for place in range(0, len(parts) - 1, 2)]

    def _hash(self, paragraph: str) -> int:
        if len(paragraph) < self._min_chars:
            return 0
        return xxhash.xxh3_64_intdigest(" ".join(paragraph.lower().split()).encode()) or 1
