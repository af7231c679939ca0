"""The device that models are to be trained on."""

import torch

from tasks.lineage.config import Resources
from tasks.lineage.errors import ConfigError


def check_device(resources: Resources) -> None:
    """Raises ConfigError where there is no such device: before a course begins, not hours later."""
    if resources.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("resources.device is cuda, and PyTorch finds no GPU that it can use: choose auto or cpu")
