"""The device that was asked for, if it is there."""

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
