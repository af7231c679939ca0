"""What this machine computes with, told without loading torch: that takes a second, and a plan needs no more."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


@cache
def processor_flags() -> frozenset[str]:
    """What Linux says that the processor can do, in its words; nothing elsewhere, and of ARM."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split() for line in lines if line.startswith("flags")), ()))


@cache
def has_bf16_products() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware. Linux says so; Macs have none."""
    return not BF16_FLAGS.isdisjoint(processor_flags())


@cache
def has_kernels(format: Literal["fp32", "bf16"]) -> bool:
    """Whether this layer's machine code can be had for numbers of the format: numba is installed, and the processor has
    the vectors that it is written for."""
    return ("avx512_bf16" if format == "bf16" else "avx512f") in processor_flags() and find_spec("numba") is not None


@cache
def torch_is_built_for_gpu() -> bool:
    """Whether the installed torch could use a GPU if there were one."""
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    says = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^(cuda|hip|xpu)\b[^=]*= *['\"]", says, re.MULTILINE) is not None
