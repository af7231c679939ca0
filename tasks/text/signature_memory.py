"""Shingles and signatures of earlier runs, so that only new texts are signed.

A run leaves its `ShingleStore` (clusters.py) here with the digests of its texts; the next takes from it what it meets
again. Entries are found by the digest of the text, under a name for everything else that they depend on: settings, code
and libraries. So what is found equals what would be computed. The two latest runs under each of the two latest names
are kept. It is a speed-up: what is damaged or gone is computed anew, and the folder may be deleted at any time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.text.checksums import is_whole, write_checksums
from tasks.text.clusters import SHINGLES, SIGNATURES, SIZES, ShingleStore
from tasks.text.row_file import RowFile
from tasks.text.shingles import Shingles
from tasks.text.text_numbers import TextNumbers

PLACE = Path("cache") / "signatures"  # below the folder of state
DIGESTS = "digests.bin"
FILES = (SHINGLES, SIGNATURES, SIZES, DIGESTS)
MOST_KEPT = 2


class _Run:
    """What one earlier run left. Raises OSError or ValueError where it is not as it was written."""

    def __init__(self, folder: Path, num_permutations: int, short: np.dtype, compiled: bool) -> None:
        self._numbers = TextNumbers(compiled)
        self._numbers.number(np.fromfile(folder / DIGESTS, np.uint64).reshape(-1, 2))
        self.sizes = np.fromfile(folder / SIZES, np.int32)
        self.offsets = np.concatenate(([0], np.cumsum(self.sizes, dtype=np.int64)))
        self.shingles = RowFile(folder / SHINGLES, np.uint32)
        self.signatures = RowFile(folder / SIGNATURES, short, num_permutations)
        if not len(self.sizes) == len(self._numbers) == len(self.signatures) or self.offsets[-1] != len(self.shingles):
            raise ValueError(f"{folder} is damaged")

    def find(self, digests: np.ndarray) -> np.ndarray:
        """Row of each digest, (N, 2) uint64 → (N,), −1 where there is none."""
        return self._numbers.find(digests)


@lru_cache(maxsize=MOST_KEPT)
def _opened(folder: Path, num_permutations: int, short: np.dtype, compiled: bool) -> _Run | None:
    """Opened once in each process; None where another process has deleted it meanwhile."""
    try:
        return _Run(folder, num_permutations, short, compiled)
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Remembered:
    """What earlier runs left, to be asked in any process. runs: their folders, the latest first. short: what is kept of
    each value of a signature."""

    runs: tuple[Path, ...]
    num_permutations: int
    short: np.dtype

    def recall(self, digests: np.ndarray, compiled: bool = False) -> tuple[np.ndarray, Shingles, np.ndarray]:
        """Of texts with these digests, (N, 2) uint64: the rows that are known, (M,), their shingles and signatures.
        compiled: looked up by machine code."""
        rows, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        hashes, signatures = [np.zeros(0, np.uint32)], [np.zeros((0, self.num_permutations), self.short)]
        missing = np.arange(len(digests))
        for folder in self.runs:
            run = _opened(folder, self.num_permutations, self.short, compiled)
            if run is None:
                continue
            found = run.find(digests[missing])
            known = found[found >= 0]
            rows.append(missing[found >= 0])
            sizes.append(run.sizes[known].astype(np.int64))
            hashes.append(run.shingles.ranges(run.offsets[known], run.offsets[known + 1]))
            signatures.append(run.signatures.rows(known))
            missing = missing[found < 0]
        offsets = np.concatenate(([0], np.cumsum(np.concatenate(sizes))))
        return np.concatenate(rows), Shingles(np.concatenate(hashes), offsets), np.concatenate(signatures)


class SignatureMemory:
    """What runs under this name leave in `folder`."""

    def __init__(self, folder: Path, name: str, num_permutations: int, short: np.dtype) -> None:
        self._folder, self._name, self._permutations, self._short = folder, name, num_permutations, short

    @contextmanager
    def remembered(self) -> Iterator[Remembered]:
        """What earlier runs left, but for what is damaged, which is deleted."""
        runs = []
        for path in _newest_first(self._folder / self._name):
            if is_whole(path, FILES):
                runs.append(path)
            else:
                shutil.rmtree(path, ignore_errors=True)
        try:
            yield Remembered(tuple(runs), self._permutations, self._short)
        finally:
            _opened.cache_clear()

    def keep(self, store: ShingleStore, digests: np.ndarray) -> None:
        """Take over the files of a sealed store of texts with these digests, (N, 2) uint64; what cannot be kept is
        deleted."""
        place = self._folder / self._name
        try:
            digests.tofile(store.directory / DIGESTS)
            write_checksums(store.directory, FILES)
            place.mkdir(parents=True, exist_ok=True)
            number = max((int(path.name) for path in _newest_first(place)), default=0) + 1
            store.directory.rename(place / f"{number:08d}")
            os.utime(place)
            names = sorted(self._folder.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
        except OSError:  # no room, or another process was faster
            shutil.rmtree(store.directory, ignore_errors=True)
            return
        for path in (*_newest_first(place)[MOST_KEPT:], *names[MOST_KEPT:]):
            shutil.rmtree(path, ignore_errors=True)


def _newest_first(place: Path) -> list[Path]:
    return sorted((path for path in place.glob("*") if path.name.isdigit()), reverse=True)
