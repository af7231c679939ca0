"""Laws of a mixture's arithmetic."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.mix import MixConfig
from tasks.mixture import MixSource, draw, portions


def sources(*rows: tuple[float, float, int | None]) -> list[MixSource]:
    return [
        MixSource(name=f"s{number}", weight=weight, epochs=epochs, max_tokens=most)
        for number, (weight, epochs, most) in enumerate(rows)
    ]


def given_tokens(rows: list[tuple[float, float, int | None]], available: list[int], tokens: int | None) -> list[int]:
    return portions(sources(*rows), np.array(available), tokens).given.tolist()


def test_without_a_size_the_source_that_runs_out_first_decides_and_all_weights_hold():
    assert given_tokens([(3, 1, None), (1, 4, None)], [600, 1000], None) == [600, 200]
    assert given_tokens([(1, 2, None), (1, 1, 700)], [600, 1000], None) == [700, 700]


def test_with_a_size_weights_are_shares_of_it():
    assert given_tokens([(3, 4, None), (1, 4, None)], [600, 1000], 1000) == [750, 250]


def test_what_a_source_lacks_the_others_take_by_their_weights():
    assert given_tokens([(2, 1, None), (1, 4, None), (1, 4, None)], [100, 1000, 1000], 1000) == [100, 450, 450]
    assert given_tokens([(1, 1, None), (1, 1, None)], [100, 200], 1000) == [100, 200]


@settings(max_examples=300)
@given(
    rows=st.lists(
        st.tuples(
            st.floats(0.01, 100), st.floats(0.1, 8), st.one_of(st.none(), st.integers(1, 5000)), st.integers(1, 9999)
        ),
        min_size=1,
        max_size=6,
    ),
    tokens=st.one_of(st.none(), st.integers(1, 30000)),
)
def test_no_limit_is_passed_and_no_room_is_left(rows, tokens):
    asked = sources(*(row[:3] for row in rows))
    found = portions(asked, np.array([row[3] for row in rows]), tokens)
    assert (found.given <= found.limit).all() and (found.given >= 0).all()
    if tokens is None:
        assert (np.abs(found.given - found.wanted) <= 1).all()
    else:
        assert found.given.sum() <= tokens
        assert found.given.sum() >= min(tokens, found.limit.sum()) - len(rows)


@settings(max_examples=300)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), tokens=st.integers(0, 5000), seed=st.integers(0, 9)
)
def test_documents_are_read_whole_evenly_and_never_beyond_the_tokens(lengths, tokens, seed):
    points = np.random.default_rng(seed).random(len(lengths))
    times = draw(np.array(lengths), points, tokens)
    left = tokens - int((times * lengths).sum())
    passes = tokens // sum(lengths)
    assert set(times.tolist()) <= {passes, passes + 1}
    assert left >= 0
    assert all(length > left for length, number in zip(lengths, times, strict=True) if number == passes)


def test_of_a_part_those_of_least_chance_are_read_first():
    assert draw(np.array([5, 5, 5]), np.array([0.9, 0.1, 0.5]), 10).tolist() == [0, 1, 1]
    assert draw(np.array([5, 50, 5]), np.array([0.9, 0.1, 0.5]), 25).tolist() == [1, 0, 1]


TABLE = pa.table({
    "source": ["pypi://numpy/a.py#x", "file:///books/a.txt", "file:///books/b.txt", "file:///odd\n.txt"],
    "origin": ["numpy", "file:///books/a.txt", "file:///books/b.txt", "odd"],
    "license": ["BSD-3-Clause", "MIT", None, "MIT"],
    "language": ["en", None, "de", "en"],
    "kind": ["docstring", "text", "text", "text"],
})  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"source": ("numpy",)}, [0]),
        ({"source": ("pypi://*", "*b.txt")}, [0, 2]),
        ({"source": ("file:*",)}, [1, 2, 3]),
        ({"license": ("MIT", "BSD*")}, [0, 1, 3]),
        ({"license": ("unknown",)}, [2]),
        ({"language": ("*",), "kind": ("text",), "license": ("MIT",)}, [1, 3]),
        ({"language": ("e?",)}, [0, 3]),
        ({"kind": ("code",)}, []),
    ],
)
def test_patterns(patterns, rows):
    assert np.flatnonzero(MixSource(name="x", **patterns).matches(TABLE)).tolist() == rows
    assert np.flatnonzero(MixSource(name="x", **patterns).matches(TABLE.slice(1))).tolist() == [
        row - 1 for row in rows if row
    ]


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ValueError, match="give each its own name"):
        MixConfig(sources=(MixSource(name="a"), MixSource(name="a", weight=2)))
