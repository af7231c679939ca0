"""Clusters of near-duplicate documents: candidates by bands, compared exactly, joined to connected components.

Shingle sets, signatures and band hashes lie in files and are read a band and a block of pairs at a time, so memory
grows with the number of documents (about 32 bytes each: offsets, labels, two bands), not with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.lineage.parallel import ahead, in_threads
from tasks.text import comparing, kernels
from tasks.text.minhash import band_hashes, estimate, short_dtype
from tasks.text.row_file import TOO_SHORT, RowFile
from tasks.text.shingles import Shingles, is_among

NEIGHBOURS = 31  # in a bucket, each document is compared with the first and with so many that follow it
PAIR_BLOCK = 1 << 13  # pairs whose signatures are compared at once
SHINGLE_BLOCK = 1 << 18  # shingles intersected at once
MARGIN = 4.0  # standard errors below the threshold at which a signature still earns an exact comparison


SHINGLES, SIGNATURES, SIZES, BAND_HASHES = "shingles.bin", "signatures.bin", "sizes.bin", "bands.bin"


class ShingleStore:
    """Shingle sets, signatures and band hashes of all documents, in files under `directory`.

    Documents are numbered in the order added. Call `add` for all, then `seal`, then read. compiled: work by machine
    code (kernels.py).
    """

    def __init__(self, directory: Path, num_permutations: int, bands: int, rows: int, compiled: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.compiled = compiled
        self.directory, self._permutations, self.bands, self._rows = directory, num_permutations, bands, rows
        self._short = short_dtype(rows)
        self._added: list[int] = []  # documents, each time
        self._files = {name: (directory / name).open("wb") for name in (SHINGLES, SIGNATURES, SIZES, BAND_HASHES)}

    def add(self, shingles: Shingles, signatures: np.ndarray) -> None:
        """Append documents: their unique shingles, and signatures (N, K), as `shortened` gives them."""
        np.diff(shingles.offsets).astype(np.int32).tofile(self._files[SIZES])
        shingles.hashes.tofile(self._files[SHINGLES])
        signatures.tofile(self._files[SIGNATURES])
        hashes = band_hashes(signatures, self.bands, self._rows, self.compiled)
        hashes.astype(np.uint32).tofile(self._files[BAND_HASHES])  # what these bring together is compared
        self._added.append(len(signatures))

    def seal(self) -> None:
        """Close the files and make what they hold readable."""
        for file in self._files.values():
            file.close()
        self.sizes = np.fromfile(self.directory / SIZES, np.int32)
        self.offsets = np.concatenate(([0], np.cumsum(self.sizes, dtype=np.int64)))
        self._shingles = RowFile(self.directory / SHINGLES, np.uint32)
        self._signatures = RowFile(self.directory / SIGNATURES, self._short, self._permutations)
        self._band_hashes = RowFile(self.directory / BAND_HASHES, np.uint32)

    def band(self, band: int) -> np.ndarray:
        """Hashes of one band, (N,) uint32: what was added at once lies band by band."""
        added = np.array(self._added, np.int64)
        begins = np.cumsum(added * self.bands) - added * (self.bands - band)
        return self._band_hashes.ranges(begins, begins + added)

    def remove_bands(self) -> None:
        """Delete the band hashes, which the signatures give at any time."""
        (self.directory / BAND_HASHES).unlink(missing_ok=True)

    def estimates(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Similarity of pairs by their signatures, (P,)."""
        documents, places = np.unique(np.concatenate((left, right)), return_inverse=True)
        found = self._signatures.rows(documents)
        return estimate(found[places[: len(left)]], found[places[len(left) :]])

    def similarities(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Exact Jaccard similarity of the shingle sets of pairs, (P,) float64."""
        both = self.sizes[left].astype(np.int64) + self.sizes[right]
        result = np.zeros(len(left))
        begin = 0
        reach = np.cumsum(both)
        while begin < len(left):
            base = reach[begin] - both[begin]
            end = max(int(np.searchsorted(reach, base + SHINGLE_BLOCK, side="right")), begin + 1)
            common = self._common(left[begin:end], right[begin:end])
            result[begin:end] = common / np.maximum(both[begin:end] - common, 1)
            begin = end
        return result

    def _common(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Shingles that the two of each pair share, (P,)."""
        sides = []
        for documents in (left, right):
            sizes = self.sizes[documents].astype(np.int64)
            pairs = np.repeat(np.arange(len(documents)), sizes)
            hashes = self._shingles.ranges(self.offsets[documents], self.offsets[documents + 1])
            sides.append(pairs.astype(np.uint64) << np.uint64(32) | hashes)
        keys = np.sort(np.concatenate(sides))
        shared = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
        return np.bincount(shared.astype(np.int64), minlength=len(left))

    def similar(self, left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
        """As `similar_pairs`, of pairs whose sizes allow it. Raises ValueError where a file is too short."""
        floor = threshold - MARGIN * np.sqrt(threshold * (1 - threshold) / self._permutations)
        if self.compiled:
            documents, places = np.unique(np.concatenate((left, right)), return_inverse=True)
            found, whole = kernels.kept(comparing.compare)(
                self._signatures.file, np.empty((len(documents), self._permutations), self._short), self._shingles.file,
                self.sizes, self.offsets, documents, places[: len(left)], places[len(left) :], threshold, floor,
            )  # fmt: skip
            if not whole:
                raise ValueError(TOO_SHORT)
            return np.asarray(found)
        result = np.zeros(len(left), bool)
        likely = np.flatnonzero(self.estimates(left, right) >= floor)
        result[likely] = self.similarities(left[likely], right[likely]) >= threshold
        return result


def similar_pairs(
    store: ShingleStore, left: np.ndarray, right: np.ndarray, threshold: float, workers: int = 1
) -> np.ndarray:
    """Whether the exact Jaccard similarity of each pair is at least `threshold`, (P,) bool.

    Sizes and signatures first rule out what cannot reach it: J ≤ smaller set / larger set, and an estimate more than
    `MARGIN` standard errors too low. workers: threads that compare.
    """
    one, other = store.sizes[left], store.sizes[right]
    smaller, larger = np.minimum(one, other), np.maximum(one, other)
    possible = np.flatnonzero((smaller > 0) & (smaller >= threshold * larger))
    possible = possible[np.argsort(left[possible], kind="stable")]  # so each signature is read for few blocks
    blocks = [possible[begin : begin + PAIR_BLOCK] for begin in range(0, len(possible), PAIR_BLOCK)]
    found = in_threads(workers)(lambda block: store.similar(left[block], right[block], threshold), blocks)
    result = np.zeros(len(left), bool)
    result[possible] = np.concatenate([np.zeros(0, bool), *found])
    return result


def bucket_pairs(
    hashes: np.ndarray, usable: np.ndarray, compiled: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of documents with the same band hash, in two rounds: next neighbours and firsts, then further neighbours.

    A bucket of up to `NEIGHBOURS` + 1 documents gives all its pairs; in a larger one (boilerplate) each document is
    paired with the first and with the `NEIGHBOURS` after it, so the work stays linear.
    """
    found = hashes[usable]
    if compiled:  # most hashes occur once and need no order
        usable = usable[kernels.kept(kernels.may_recur)(found)]
    else:
        ordered = np.sort(found)
        usable = usable[is_among(found, ordered[1:][ordered[1:] == ordered[:-1]])]
    order = usable[stable_order(hashes[usable])]
    keys = hashes[order]
    same = np.flatnonzero(keys[1:] == keys[:-1])
    if not len(same):
        return
    starts = np.ones(len(keys), bool)
    starts[1:] = keys[1:] != keys[:-1]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
    later = np.flatnonzero(np.arange(len(keys)) - first > 1)
    yield np.concatenate((order[same], order[first[later]])), np.concatenate((order[same + 1], order[later]))
    lefts, rights = [], []
    for step in range(2, NEIGHBOURS + 1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        same = same[first[same] != same]  # the first has met all in the round before
        if not len(same):
            break
        lefts.append(order[same])
        rights.append(order[same + step])
    if lefts:
        yield np.concatenate(lefts), np.concatenate(rights)


def stable_order(hashes: np.ndarray) -> np.ndarray:
    """``np.argsort(hashes, kind="stable")``, of (N,) uint32, several times sooner: numpy sorts numbers by vectors, and
    the place of each stands in the lower half of such a number."""
    marked = np.sort(hashes.astype(np.uint64) << np.uint64(32) | np.arange(len(hashes), dtype=np.uint64))
    return (marked & np.uint64(0xFFFFFFFF)).astype(np.int64)


def components(
    store: ShingleStore, threshold: float, on_pairs: Callable[[int], None] = lambda band: None, workers: int = 1
) -> tuple[np.ndarray, int]:
    """Label of the cluster of each document, (N,), and the number of pairs found similar.

    Documents that a band before has joined are not compared again. Labels are the least document of the cluster.
    workers: threads, one of which looks for the pairs of the next band while the others compare. on_pairs: is told,
    after some were compared, of which band they are.
    """
    parents = np.arange(len(store.sizes))  # trees, whose roots are the least documents
    usable = np.flatnonzero(store.sizes > 0)
    num_pairs = 0
    of_bands = (list(bucket_pairs(store.band(band), usable, store.compiled)) for band in range(store.bands))
    for band, rounds in enumerate(ahead(of_bands, workers)):
        for left, right in rounds:
            apart = roots(parents, left) != roots(parents, right)
            left, right = left[apart], right[apart]
            similar = similar_pairs(store, left, right, threshold, max(1, workers - 1))
            num_pairs += int(similar.sum())
            join(parents, left[similar], right[similar])
            on_pairs(band)
    return roots(parents, np.arange(len(parents))), num_pairs


def roots(parents: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """The root above each document, (D,)."""
    while True:
        above = parents[documents]
        if np.array_equal(above, documents):
            return above
        documents = above


def join(parents: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Put the roots above each pair under the least of those that are joined so."""
    if not len(left):
        return
    joined, ends = np.unique(roots(parents, np.stack((left, right))), return_inverse=True)
    graph = coo_array((np.ones(len(left), np.int8), tuple(ends)), shape=(len(joined), len(joined)))
    _, groups = connected_components(graph, directed=False)
    least = np.full(groups.max() + 1, len(parents))
    np.minimum.at(least, groups, joined)
    parents[joined] = least[groups]
