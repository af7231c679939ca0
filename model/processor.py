"""What this machine computes with, told without loading torch: that takes a second, and a plan needs no more."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


@cache
def _told(name: str) -> str:
    """What Linux says of the first processor under this name; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name), "")


@cache
def processor_flags() -> frozenset[str]:
    """What Linux says that the processor can do, in its words; nothing elsewhere, and of ARM."""
    return frozenset(_told("flags").split())


@cache
def has_bf16_products() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware. Linux says so; Macs have none."""
    return not BF16_FLAGS.isdisjoint(processor_flags())


@cache
def has_fast_bf16_products() -> bool:
    """Whether it multiplies them faster than in fp32. Intel's vectors do not: with its matrix unit hidden, as some
    virtual machines have it, a step of training took 1.3 times as long as in fp32. AMD's do, at twice the rate."""
    return has_bf16_products() and ("amx_bf16" in processor_flags() or _told("vendor_id") != "GenuineIntel")


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
