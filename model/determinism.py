"""Deterministic algorithms for the length of a block."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_algorithms(enabled: bool = True) -> Iterator[None]:
    """Within it, torch uses deterministic algorithms if `enabled`, then goes back to what was set before.

    Compiled training differs from run to run without this (the backward of the embedding lookup adds in any order);
    with it, it is exact at the same speed. On a GPU cuBLAS needs a fixed workspace, which is asked for here. New memory
    is not filled, which torch would otherwise do at this setting.
    """
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
