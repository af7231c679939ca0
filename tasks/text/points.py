"""Chance fixed by a document's id: the same document, seed and use give the same number, whatever else there is."""

from hashlib import sha256

import numpy as np

from tasks.text.spans import mix64


def points_of(heads: np.ndarray, seed: int, use: str) -> np.ndarray:
    """A number in [0, 1) for each document, (N,), fixed by the first 64 bits of its doc_id (itself a hash), (N,), the
    seed and the use."""
    salt = int.from_bytes(sha256(f"{seed}\0{use}".encode()).digest()[:8], "big")
    return (mix64(heads ^ np.uint64(salt)) >> np.uint64(11)) / 2.0**53
