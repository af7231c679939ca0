"""The device that was asked for, if it is there, and whether a model has room."""

import os

import torch

from model.command.errors import CommandError
from model.precision import resolve_device


def given_device(name: str) -> str:
    """The device as torch names it. Raises CommandError where there is none of this name."""
    try:
        device = resolve_device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CommandError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): use auto, cpu or, with a GPU, cuda."
        ) from error
    return str(device)


def fits_in_memory(parameters: int) -> None:
    """Raises CommandError for a model whose weights alone, which are made on the processor, exceed this machine's
    memory: to ask for that much could end other programs."""
    needed, there = 4 * parameters, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise CommandError(
            f"the model's {parameters:,} weights take {needed / 1e9:,.0f} GB, and this machine has {there / 1e9:,.0f} "
            f"GB of memory: lower --hidden-size, --num-hidden-layers or --vocab-size."
        )
