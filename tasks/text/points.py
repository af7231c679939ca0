"""Chance fixed by a document's id: the same document, seed and use give the same number, whatever else there is."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from tasks.text.spans import mix64


def hash_points(doc_ids: Sequence[str], seed: int, use: str) -> np.ndarray:
    """A number in [0, 1) for each document, fixed by its doc_id (itself a hash), the seed and the use, (N,)."""
    heads = np.frombuffer(bytes.fromhex("".join([doc_id[:16] for doc_id in doc_ids])), ">u8")
    return points_of(heads.astype(np.uint64), seed, use)


def points_of(heads: np.ndarray, seed: int, use: str) -> np.ndarray:
    """As `hash_points`, of the first 64 bits of each doc_id, (N,) uint64."""
    salt = int.from_bytes(sha256(f"{seed}\0{use}".encode()).digest()[:8], "big")
    return (mix64(heads ^ np.uint64(salt)) >> np.uint64(11)) / 2.0**53
