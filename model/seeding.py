"""Random streams by name: every use of chance has its own generator, derived from one seed.

`generator(seed, "rollout", 12)` depends on nothing but its arguments, so adding a draw in one place changes no other
place, and a resumed run meets the same numbers without saving a generator's state.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A seed in [0, 2^63) from `seed` and a path of names, by SHA-256 over their JSON (so ("a", "b") ≠ ("ab",))."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A fresh torch generator for this use."""
    import torch  # takes seconds, and who only asks which step saw what needs none of it

    return torch.Generator(device).manual_seed(derive(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A fresh numpy generator (PCG64) for this use."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names)))
