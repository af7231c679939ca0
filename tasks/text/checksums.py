"""Checksums of files that are remembered only to save time: against damage, not against malice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import xxhash

CHECKSUMS = "checksums.json"


def write_checksums(folder: Path, names: Sequence[str]) -> None:
    """Leave the checksums of these files beside them. Raises OSError."""
    (folder / CHECKSUMS).write_text(json.dumps(_checksums(folder, names)))


def is_whole(folder: Path, names: Sequence[str]) -> bool:
    """Whether these files are there, as they were when their checksums were written."""
    try:
        told = json.loads((folder / CHECKSUMS).read_text())
        return bool(told == _checksums(folder, names))
    except (OSError, ValueError):
        return False


def _checksums(folder: Path, names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        hasher = xxhash.xxh3_64()
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
        found[name] = hasher.hexdigest()
    return found
