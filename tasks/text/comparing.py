"""Pairs of documents compared by machine code, which reads their signatures and shingles from files as it goes.

It holds no lock of the interpreter, so threads compare side by side. kernels.py says where the machine code is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

_SHINGLE = 4  # bytes
# ssize_t pread(int file, void *target, size_t num_bytes, off_t place), of the C library
_pread = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


@njit(nogil=True, error_model="numpy")
def read_values(file: Any, begin: Any, count: Any, item: Any, target: Any) -> bool:
    """Read so many values of `item` bytes of a file, from the one of number `begin` on; false where there are not so
    many."""
    done, size = 0, count * item
    while done < size:
        got = _pread(file, target.ctypes.data + np.uintp(done), size - done, begin * item + done)
        if got <= 0:
            return False
        done += got
    return True


@njit(nogil=True, error_model="numpy")
def count_common(left: Any, left_size: Any, right: Any, right_size: Any) -> Any:
    """How many values two sets share, of so many each, in rising order."""
    first = second = common = 0
    while first < left_size and second < right_size:
        one, other = left[first], right[second]
        common += one == other
        first += one <= other
        second += other <= one
    return common


@njit(nogil=True, error_model="numpy")
def compare(
    signatures: Any, known: Any, shingles: Any, sizes: Any, offsets: Any, documents: Any, left: Any, right: Any,
    threshold: Any, floor: Any,
) -> Any:  # fmt: skip
    """As `ShingleStore.similar`: (P,) bool, and whether the files held all that was looked for.

    signatures, shingles: files, (N, K) and (S,) uint32. known: room for D signatures, (D, K), of their type. sizes,
    offsets: of each document's shingles, (N,) and (N + 1,). documents: some, (D,). left, right: places among these,
    (P,). threshold: of the similarity; floor: of the estimate by signatures.
    """
    result, largest = np.zeros(len(left), np.bool_), 0
    permutations = known.shape[1]
    for place in range(len(documents)):
        largest = max(largest, sizes[documents[place]])
        if not read_values(signatures, documents[place] * permutations, permutations, known.itemsize, known[place]):
            return result, False
    first, second = np.empty(largest, np.uint32), np.empty(largest, np.uint32)
    for pair in range(len(left)):
        a, b = documents[left[pair]], documents[right[pair]]
        one, other = known[left[pair]], known[right[pair]]
        alike = 0
        for index in range(permutations):
            alike += one[index] == other[index]
        if alike / permutations < floor:
            continue
        found = read_values(shingles, offsets[a], sizes[a], _SHINGLE, first)
        if not found or not read_values(shingles, offsets[b], sizes[b], _SHINGLE, second):
            return result, False
        common = count_common(first, sizes[a], second, sizes[b])
        result[pair] = common / max(sizes[a] + sizes[b] - common, 1) >= threshold
    return result, True
