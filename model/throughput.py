"""How fast training is, beside how fast the machine could be: model FLOPs utilisation (MFU) and peak memory.

MFU is the FLOPs that the model needs for the tokens it has seen, over those of a plain matrix product in the same time
(Chowdhery et al. 2022, PaLM, appendix B). PaLM divides by what the maker of the chip states; a processor's maker states
nothing of the kind, so the product is measured here, with the same number of threads and in the same number format.
"""

import time
from functools import lru_cache
from typing import Any

import torch

from model.config import ModelConfig
from model.memory import peak_resident_bytes
from model.precision import Precision

SIZES = {"cpu": 768, "cuda": 4096}  # of the square matrices that are multiplied
MEASURING_SECONDS = 0.15
FEWEST_PRODUCTS = 4


def matmul_peak(device: torch.device, precision: Precision) -> float:
    """FLOPs a second of a large matrix product, the best of some; measured once in a process for each number of
    threads, in about 0.2 s. On a machine that others use it is too low, and MFU too high."""
    return _matmul_peak(str(device), precision, torch.get_num_threads())


@lru_cache(maxsize=16)
def _matmul_peak(device: str, precision: Precision, threads: int) -> float:
    kind = torch.device(device).type
    size = SIZES.get(kind, SIZES["cpu"])
    # Constants, so that no random generator moves.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.full((size, size), value, dtype=dtype, device=device) for value in (0.5, 0.25))
    best, products, began = float("inf"), 0, time.perf_counter()
    while products < FEWEST_PRODUCTS or time.perf_counter() - began < MEASURING_SECONDS:
        started = time.perf_counter()
        with torch.no_grad():
            left @ right
        if kind == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
        products += 1
    return 2 * size**3 / best


def flops_per_token(model: Any, context_length: int) -> int | None:
    """FLOPs of forward and backward for each token of rows of `context_length`; None for a model that tells no sizes.

    A `ScalarModel` has no output matrix over the vocabulary.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        return None
    head = 0 if hasattr(model, "output_weight") else 6 * config.vocab_size * config.hidden_size
    return config.flops_per_token(context_length) - head


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """The most memory in use so far: of the GPU's tensors where `device` is one, else of this process."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()
