"""The suffix array against search by brute force."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.trace.suffixes import SuffixArray, TokenText, count_tokens, sorted_suffixes

TOKENS = st.lists(st.integers(0, 3), max_size=60)


def built(shards: list[list[int]], depth: int, bucket: int, dtype: str = "<u2") -> SuffixArray:
    """Every shard ends with 0, the end of a document."""
    text = TokenText([np.array([*shard, 0], dtype) for shard in shards])
    order = np.concatenate(list(sorted_suffixes(text, 4, depth=depth, bucket=bucket)))
    return SuffixArray(text, order.astype("<u4"), depth)


def by_hand(shards: list[list[int]], query: list[int]) -> list[int]:
    found, start = [], 0
    for shard in shards:
        found += [start + i for i in range(len(shard)) if shard[i : i + len(query)] == query]
        start += len(shard) + 1
    return found


@settings(deadline=None, max_examples=300)
@given(
    shards=st.lists(TOKENS, min_size=1, max_size=3),
    query=st.lists(st.integers(1, 3), min_size=1, max_size=12),
    depth=st.integers(1, 70),
    bucket=st.integers(1, 200),
)
def test_every_place_of_a_run_is_found_and_the_longest_beginning_is_told(
    shards: list[list[int]], query: list[int], depth: int, bucket: int
) -> None:
    suffixes = built(shards, depth, bucket)
    assert suffixes.find(query).tolist() == by_hand(shards, query)
    lengths = [n for n in range(1, len(query) + 1) if by_hand(shards, query[:n])]
    assert suffixes.longest(query) == max(lengths, default=0)


@settings(deadline=None)
@given(shards=st.lists(TOKENS, min_size=1, max_size=3), bucket=st.integers(1, 200))
def test_suffixes_come_in_order_each_once(shards: list[list[int]], bucket: int) -> None:
    whole = [token for shard in shards for token in (*shard, 0)]
    text = TokenText([np.array([*shard, 0], "<u4") for shard in shards])
    told: list[tuple[int, int]] = []
    parts = sorted_suffixes(text, 4, lambda done, total: told.append((done, total)), depth=100, bucket=bucket)
    order = np.concatenate(list(parts)).tolist()
    assert sorted(order) == list(range(len(whole)))
    heads = [(whole[i:] + [0] * 100)[:100] for i in order]
    assert heads == sorted(heads)
    assert told[-1] == (len(whole), len(whole))


def test_a_text_of_one_token_over_and_over_takes_no_longer_than_the_depth_allows() -> None:
    text = TokenText([np.ones(200_000, "<u2")])
    order = np.concatenate(list(sorted_suffixes(text, 8192))).astype("<u4")
    suffixes = SuffixArray(text, order)
    assert suffixes.longest([1] * 100) == 100
    assert len(suffixes.find([1] * 100)) == 200_000 - 99


def test_tokens_are_counted() -> None:
    text = TokenText([np.array([3, 1, 3], "<u2"), np.array([], "<u2"), np.array([0], "<u2")])
    assert count_tokens(text, 5).tolist() == [1, 1, 0, 2, 0]
