"""Clusters and exact similarity of shingle sets."""

from itertools import chain

import numpy as np
import pytest

from tasks.text.clusters import NEIGHBOURS, ShingleStore, bucket_pairs, components, join, roots
from tasks.text.minhash import permutations, short_dtype, shortened, signatures
from tasks.text.shingles import Shingles, unique_shingles


def store(tmp_path, sets: list[list[int]], bands: int = 21, rows: int = 6) -> ShingleStore:
    offsets = np.concatenate(([0], np.cumsum([len(values) for values in sets])))
    shingles = unique_shingles(Shingles(np.array(list(chain(*sets)), np.uint32), offsets))
    found = ShingleStore(tmp_path / "store", 128, bands, rows)
    signed = signatures(shingles.hashes, shingles.offsets, *permutations(128, 1))
    found.add(shingles, shortened(signed, short_dtype(rows)))
    found.seal()
    return found


def test_similarities_are_exact(tmp_path):
    sets = [[1, 2, 3, 4], [3, 4, 5], [], [1, 2, 3, 4, 4, 4]]
    found = store(tmp_path, sets)
    left, right = np.array([0, 0, 0, 1, 2]), np.array([1, 2, 3, 1, 2])
    assert found.similarities(left, right).tolist() == pytest.approx([2 / 5, 0, 1, 1, 0])


@pytest.mark.parametrize(("bands", "rows"), [(21, 6), (42, 3)])  # of whose signatures 8 and 16 bits are kept
def test_components_match_an_exhaustive_search(tmp_path, bands, rows):
    generator = np.random.default_rng(3)
    sets = []
    for _ in range(60):
        base = generator.choice(2**32, 100, replace=False).tolist()
        sets += [base[cut:] for cut in (0, 5, 15, 40)]
    labels, _ = components(store(tmp_path, sets, bands, rows), 0.8)
    expected = np.arange(len(sets))
    for left in range(len(sets)):
        for right in range(left):
            a, b = set(sets[left]), set(sets[right])
            if len(a & b) / len(a | b) >= 0.8:
                expected[expected == expected[left]] = min(expected[left], expected[right])
    agree = labels == expected
    assert agree.mean() >= 0.98


def test_a_large_bucket_stays_linear_and_meets_its_first():
    size = 500
    rounds = list(bucket_pairs(np.zeros(size, np.uint32), np.arange(size)))
    pairs = {tuple(sorted(pair)) for left, right in rounds for pair in zip(left.tolist(), right.tolist(), strict=True)}
    assert {(0, other) for other in range(1, size)} <= pairs
    assert all((i, j) in pairs for i in range(size) for j in range(i + 1, min(i + NEIGHBOURS + 1, size)))
    assert len(pairs) <= size * (NEIGHBOURS + 1)


def test_a_cluster_is_labelled_by_its_least_document():
    parents = np.arange(6)
    for left, right in (([5, 3], [4, 1]), ([5], [2]), ([4], [3]), ([], [])):
        join(parents, np.array(left, int), np.array(right, int))
    assert roots(parents, np.arange(6)).tolist() == [0, 1, 1, 1, 1, 1]
