"""The device that was asked for, if it is there, and whether a model has room."""

import os
import re

import torch

from model.command.errors import CommandError
from model.distributed import Ranks
from model.precision import resolve_device


def given_device(name: str) -> str:
    """The device as torch names it. Raises CommandError where there is none of this name."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) and not (name == "mps" and torch.backends.mps.is_available()):
        raise CommandError(f"--device {name} is none to compute on here: use auto, cpu or, with a GPU, cuda or cuda:1.")
    try:
        device = resolve_device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CommandError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): use auto, cpu or, with a GPU, cuda."
        ) from error
    return str(device)


def fits_in_memory(parameters: int, device: str) -> None:
    """Raises CommandError for a model that exceeds this machine's memory, before that ends other programs: on a
    processor with weights, gradients and one moment each (divided over the processes, they may be elsewhere), else
    with the weights alone, which are made here."""
    each = max(4.0, 12 / Ranks.here().size) if device == "cpu" else 4.0  # bytes
    needed, there = each * parameters, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise CommandError(
            f"to train {parameters:,} weights takes {needed / 1e9:,.0f} GB at least, and this machine has "
            f"{there / 1e9:,.0f} GB of memory: lower --hidden-size, --num-hidden-layers or --vocab-size."
        )
