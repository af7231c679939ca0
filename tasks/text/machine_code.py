"""Whether loops are worth compiling; apart from them, since numba takes longer to load than little text to read."""

from __future__ import annotations

from pathlib import Path

from tasks.lineage.home import home

WORTH_LOADING, WORTH_COMPILING = 8 << 20, 128 << 20  # bytes of text
PLACE = Path("cache") / "compiled"  # below the folder of state; may be deleted at any time


def pays(num_bytes: int) -> bool:
    """Whether so much text is worked on sooner with machine code: it has to be compiled first, or loaded."""
    return num_bytes >= (WORTH_LOADING if (home() / PLACE).is_dir() else WORTH_COMPILING)
