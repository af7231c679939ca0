"""Signatures against datasketch, estimates against exact similarity, banding against its formula."""

from itertools import chain

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.minhash import (
    BANDS,
    ROWS,
    band_hashes,
    estimate,
    found_probability,
    mix32,
    permutations,
    short_dtype,
    shortened,
    signatures,
)

hashes = st.integers(0, 2**32 - 1)


def of(*sets: list[int], count: int = 128, seed: int = 1) -> np.ndarray:
    offsets = np.concatenate(([0], np.cumsum([len(values) for values in sets])))
    return signatures(np.array(list(chain(*sets)), np.uint32), offsets, *permutations(count, seed))


@pytest.mark.parametrize(("count", "seed"), [(128, 1), (16, 7), (200, 12345)])
def test_permutations_are_datasketchs(count, seed):
    theirs = MinHash(count, seed=seed, scheme="affine32").permutations
    assert np.array_equal(np.array(permutations(count, seed)), theirs)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(hashes, max_size=50), max_size=5))
def test_signatures_equal_datasketchs(sets):
    for values, ours in zip(sets, of(*sets), strict=True):
        theirs = MinHash(128, seed=1, hashfunc=int, scheme="affine32")
        for value in values:
            theirs.update(value)
        assert np.array_equal(ours, theirs.hashvalues)


def test_long_documents_across_chunks_equal_datasketchs():
    generator = np.random.default_rng(0)
    sets = [generator.integers(0, 2**32, size).tolist() for size in (3, 100_000, 0, 40_000, 1)]
    for values, ours in zip(sets, of(*sets, count=16), strict=True):
        theirs = MinHash(16, seed=1, hashfunc=int, scheme="affine32")
        theirs.update_batch(values)
        assert np.array_equal(ours, theirs.hashvalues)


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.floats(0, 1), st.integers(0, 2**31))
def test_estimates_are_near_the_exact_similarity(size, shared, seed):
    pool = np.random.default_rng(seed).choice(2**32, 2 * size, replace=False)
    common = int(shared * size)
    left, right = pool[:size], np.concatenate((pool[:common], pool[size : 2 * size - common]))
    exact = common / (2 * size - common)
    found = estimate(*(row[None] for row in of(left.tolist(), right.tolist(), count=512)))[0]
    assert abs(found - exact) <= 5 * np.sqrt(exact * (1 - exact) / 512) + 0.02


@pytest.mark.parametrize(("rows", "dtype"), [(6, np.uint8), (4, np.uint8), (3, np.uint16), (1, np.uint16)])
def test_documents_of_one_shingle_are_told_apart_by_parts_of_values(rows, dtype):
    candidates = np.arange(1 << 20, dtype=np.uint32)
    low = mix32(candidates) & np.uint32(0xFFFF)  # of these alone the lower half of every value of a signature is made
    alike = candidates[np.argsort(low, kind="stable")][: 2 * (len(low) // 2)].reshape(-1, 2)
    alike = alike[mix32(alike[:, 0]) & np.uint32(0xFFFF) == mix32(alike[:, 1]) & np.uint32(0xFFFF)][:200]
    one, other = (of(*side[:, None].tolist()) for side in alike.T)
    assert len(alike) == 200 and (one.astype(np.uint16) == other.astype(np.uint16)).all()
    one, other = (shortened(signature, short_dtype(rows)) for signature in (one, other))
    assert one.dtype == dtype and (one == other).mean() < 1.2 / np.iinfo(dtype).max
    assert (one == other).all(axis=1).sum() == 0


def test_the_stated_probabilities():
    expected = {0.3: 0.015, 0.4: 0.083, 0.5: 0.282, 0.6: 0.633, 0.7: 0.928, 0.8: 0.9983}
    for similarity, probability in expected.items():
        assert found_probability(similarity, BANDS, ROWS) == pytest.approx(probability, abs=6e-4)


def test_bands_agree_where_their_rows_do():
    left = np.arange(126, dtype=np.uint32)[None]
    right = left.copy()
    right[0, 6:] += 1  # only the first band stays
    agree = band_hashes(left, 21, 6) == band_hashes(right, 21, 6)
    assert agree[:, 0].tolist() == [True, *[False] * 20]
