"""Which device and number format to compute in, found at run time.

Raw bf16 matmul is 6–10 times fp32 on processors with AMX, twice fp32 on AMD's with AVX512-bf16, no faster than fp32 on
Intel's with that alone, and slower on all others, where it is emulated.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from model.processor import has_fast_bf16_products, has_kernels, torch_is_built_for_gpu

Precision = Literal["fp32", "bf16"]
FORMATS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def has_fast_bf16(device: str | torch.device = "auto") -> bool:
    """Whether `device` multiplies bf16 matrices in hardware, and sooner than in fp32."""
    if torch_is_built_for_gpu() and resolve_device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return has_fast_bf16_products()


def resolve_precision(precision: Literal["auto", "fp32", "bf16"], device: str | torch.device = "auto") -> Precision:
    """ "auto" becomes bf16 where it is fast, else fp32; anything else is returned as it is."""
    if precision != "auto":
        return precision
    return "bf16" if has_fast_bf16(device) else "fp32"


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" becomes cuda where there is a GPU, else cpu."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def product_format(tensor: torch.Tensor) -> torch.dtype:
    """The format of matrix products with a tensor: autocast's if it is on, else the tensor's own."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def fits_machine_code(format: torch.dtype, device: torch.device) -> bool:
    """Whether machine code can be had for products in this format on this device; torch.compile cannot look into it."""
    name = FORMATS.get(format)
    return name is not None and device.type == "cpu" and not torch.compiler.is_compiling() and has_kernels(name)


def use_threads(threads: int | None) -> None:
    """Computes with so many threads from now on (None: as it is)."""
    if threads is not None:
        torch.set_num_threads(threads)


def autocast(precision: Precision, device: str | torch.device) -> AbstractContextManager[object]:
    """The context in which a forward pass computes in `precision` (weights and optimiser stay fp32)."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
