"""Deterministic algorithms for the length of a block."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# On a GPU cuBLAS needs a fixed workspace. PyTorch reads this once in a process, at its first matrix product there, and
# refuses all later ones under deterministic algorithms if it was not set then: so it is set before any.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def deterministic_algorithms(enabled: bool = True) -> Iterator[None]:
    """Within it, torch uses deterministic algorithms if `enabled`, then goes back to what was set before.

    Compiled training differs from run to run without this (the backward of the embedding lookup adds in any order);
    with it, it is exact at the same speed. New memory is not filled, which torch would otherwise do at this setting.
    """
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
