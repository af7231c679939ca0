"""What this machine computes with, told without loading torch: that takes a second, and a plan needs no more."""

import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
KERNEL_FLAGS = {"fp32": frozenset({"avx2", "fma"}), "bf16": frozenset({"avx512f", "avx512_bf16"})}


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
    """What Linux says that the processor can do, in its words; nothing elsewhere, and of ARM. Less what
    ONEDNN_MAX_CPU_ISA rules out: who holds PyTorch's products to older instructions means all that computes."""
    return frozenset(flag for flag in _told("flags").split() if not _is_ruled_out(flag))


def _is_ruled_out(flag: str) -> bool:
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if most in {"", "DEFAULT", "ALL"} or "AMX" in most or most.startswith("AVX10_2"):
        return False
    wide, bf16 = most.startswith(("AVX512", "AVX10")), most.endswith(("BF16", "FP16")) or most.startswith("AVX10")
    if flag.startswith("avx512"):
        return not (bf16 if flag == "avx512_bf16" else wide)
    return flag.startswith("amx") or (flag in {"avx2", "fma"} and most in {"SSE41", "AVX"})


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
    return KERNEL_FLAGS[format] <= processor_flags() and find_spec("numba") is not None


@cache
def torch_is_built_for_gpu() -> bool:
    """Whether the installed torch could use a GPU if there were one."""
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    says = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^(cuda|hip|xpu)\b[^=]*= *['\"]", says, re.MULTILINE) is not None
