"""MinHash signatures and locality-sensitive hashing, for all documents of a batch at once.

The signature scheme is datasketch 2.0's "affine32": the 32-bit hash of a shingle is mixed once by MurmurHash3's
finaliser, then permutation k maps it to a_k·h + b_k mod 2³² (a_k odd, so that it is a bijection), and the signature
holds the least value under each permutation. `permutations(n, seed)` draws a and b as datasketch does, so for the same
shingle hashes the signatures are equal to those of `datasketch.MinHash(n, seed, hashfunc=…)`, bit for bit.

Banding: the signature is cut in b bands of r values, and two documents that agree in a whole band are compared.
For Jaccard similarity s, P(compared) = 1 − (1 − s^r)^b. With b = 21, r = 6 (126 of 128 values):

    s          0.3     0.4     0.5     0.6     0.7     0.8      0.9
    P(s)     0.015   0.083   0.282   0.633   0.928   0.9983   0.9999999

so that hardly a pair of s ≥ 0.8 is missed; the many pairs below that are found are removed by comparing them.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tasks.text.spans import mix64

BANDS, ROWS = 21, 6
EMPTY = np.uint32(0xFFFFFFFF)  # value of the signature of a document without shingles, as in datasketch
CHUNK = 1 << 15  # shingles permuted at once: 128 KiB, which stays in the second-level cache


def found_probability(similarity: float, bands: int, rows: int) -> float:
    """P(two documents of this Jaccard similarity agree in some band) = 1 − (1 − s^r)^b."""
    return 1 - (1 - similarity**rows) ** bands


@cache
def permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors a (odd) and summands b of `count` permutations, (count,) uint32, as datasketch draws them."""
    generator = np.random.RandomState(seed)
    factors = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    summands = generator.randint(0, 1 << 32, count, dtype=np.uint32)
    return factors, summands


def mix32(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finaliser (Appleby 2008), a bijection of uint32."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def signatures(
    hashes: np.ndarray, offsets: np.ndarray, factors: np.ndarray, summands: np.ndarray, compiled: bool = False
) -> np.ndarray:
    """MinHash signatures (N, K) uint32 of documents whose shingle hashes are hashes[offsets[i]:offsets[i+1]].

    hashes: (S,) uint32. offsets: (N + 1,) int64. factors, summands: (K,) uint32. compiled: by machine code
    (kernels.py).
    """
    if compiled:
        from tasks.text import kernels  # numba takes longer to load than a question about few texts to answer

        found: np.ndarray = kernels.kept(kernels.signatures)(hashes, offsets, factors, summands)
        return found
    result = np.full((len(factors), len(offsets) - 1), EMPTY, np.uint32)
    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    mixed = mix32(hashes)
    cuts = np.append(offsets[filled], offsets[-1])
    begin = 0
    while begin < len(filled):  # documents begin:end have about CHUNK shingles together, at least one document
        end = max(int(np.searchsorted(cuts, cuts[begin] + CHUNK, side="right")) - 1, begin + 1)
        rows, starts = filled[begin:end], cuts[begin:end]
        least = result[:, rows]
        for low in range(cuts[begin], cuts[end], CHUNK):  # more than one step only inside a single long document
            piece = mixed[low : min(low + CHUNK, cuts[end])]
            places = np.maximum(starts - low, 0)
            permuted = np.empty_like(piece)
            for index in range(len(factors)):
                np.multiply(piece, factors[index], out=permuted)
                permuted += summands[index]
                np.minimum(least[index], np.minimum.reduceat(permuted, places), out=least[index])
        result[:, rows] = least
        begin = end
    return np.ascontiguousarray(result.T)


def short_dtype(rows: int) -> np.dtype:
    """What is kept of each value of a signature, of which so many make a band: 8 bits, or 16 where a band of so few
    values would bring together too much."""
    return np.dtype(np.uint8 if rows >= 4 else np.uint16)


def shortened(signature: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """8 or 16 bits of each value of signatures, (N, K) uint32 → dtype (b-bit minwise hashing, Li and König 2010).
    Values that differ become the same once in 256 times, or 65,536.

    All bits of a value count: of a_k·h + b_k the lower half knows the lower half of h alone, so two documents of one
    shingle would become the same under all permutations or under none.
    """
    return (signature * np.uint32(0x9E3779B1) >> np.uint32(32 - 8 * dtype.itemsize)).astype(dtype)


def estimate(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of pairs of signatures, (P, K) each → (P,); its standard error is √(s(1−s)/K)."""
    return (left == right).mean(axis=1)


def band_hashes(signature: np.ndarray, bands: int, rows: int, compiled: bool = False) -> np.ndarray:
    """64-bit hash of each band of each signature: (N, K) unsigned → (bands, N) uint64, K ≥ bands·rows.

    compiled: by machine code (kernels.py).
    """
    if compiled:
        from tasks.text import kernels

        found: np.ndarray = kernels.kept(kernels.band_hashes)(signature, bands, rows)
        return found
    result = np.empty((bands, len(signature)), np.uint64)
    for band in range(bands):
        key = np.full(len(signature), band, np.uint64)
        for row in range(band * rows, (band + 1) * rows):
            key = mix64(key * np.uint64(0x9E3779B97F4A7C15) + signature[:, row])
        result[band] = key
    return result
