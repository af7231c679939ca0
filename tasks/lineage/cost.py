"""What a piece of work cost, and the numerics it ran under."""

import importlib.metadata
import os
import platform
import resource
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tasks.lineage.config import Resources
from tasks.lineage.errors import ConfigError

WATTS_PER_CORE = 10.0
"""Assumed draw of one busy core, with its share of memory and board. Server processors list 3–6 W a core at their
rated power; memory, board and supply losses about double it. An order of magnitude, not a measurement."""

_NUMERIC_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "amx_tile",
    "neon",
    "sve",
    "asimd",
)
_LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")  # of PyTorch's libraries


class Meter:
    """Wall and processor time since it was made. Processor time is the whole process's and its finished children's."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = _cpu_seconds()

    @property
    def wall_seconds(self) -> float:
        return time.monotonic() - self._wall

    @property
    def cpu_seconds(self) -> float:
        return _cpu_seconds() - self._cpu

    @property
    def energy_wh(self) -> float:
        """Estimated watt-hours: processor seconds × WATTS_PER_CORE / 3600. Accelerators are not counted."""
        return self.cpu_seconds * WATTS_PER_CORE / 3600


def numerics(resources: Resources) -> dict[str, Any]:
    """What may change the bytes of a result but not its meaning. limits: to which of the processor's features the
    environment holds libraries, where it does."""
    limits = {name: os.environ[name] for name in _LIMITS if os.environ.get(name)}
    return {
        **_machine(),
        **({"limits": limits} if limits else {}),
        "threads": resources.threads or os.environ.get("OMP_NUM_THREADS") or os.cpu_count(),
        "device": resources.device,
        "compile": resources.compile,
        **({"processes": resources.processes, "shard": resources.shard} if resources.processes > 1 else {}),
    }


def library_versions(libraries: Sequence[str]) -> dict[str, str]:
    """Installed versions of the named distributions, and Python's, without the build ("+cpu"), which is numerics.

    Raises ConfigError, naming the distribution that is not installed.
    """
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in libraries:
        version = _version(name)
        if version is None:
            raise ConfigError(f"the library {name!r} is not installed; install it, or name the distribution correctly")
        versions[name] = version.partition("+")[0]
    return dict(sorted(versions.items()))


@cache
def _machine() -> dict[str, Any]:
    model, flags = _processor()
    return {
        "machine": platform.machine(),
        "processor": model,
        "features": [flag for flag in _NUMERIC_FLAGS if flag in flags],
        "torch": _version("torch"),
        "numpy": _version("numpy"),
    }


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> tuple[str, frozenset[str]]:
    """Model name and feature flags; both empty-handed where the system does not tell."""
    fields: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().split("\n\n")[0].splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
    flags = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name") or platform.processor() or "unknown", frozenset(flags.split())


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
