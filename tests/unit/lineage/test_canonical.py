"""Canonical JSON: equal values give equal bytes, and what cannot promise that is refused with the remedy."""

import json
import math
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.lineage.canonical import digest, encode
from tasks.lineage.errors import CanonicalError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


class Colour(Enum):
    RED = "red"


@given(PLAIN)
def test_what_is_encoded_reads_back_as_the_same_value(value: Any) -> None:
    assert json.loads(encode(value)) == value


@given(st.dictionaries(TEXT, PLAIN, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert encode(dict(reversed(value.items()))) == encode(value)


@given(PLAIN, PLAIN)
def test_different_values_have_different_bytes(first: Any, second: Any) -> None:
    if encode(first) == encode(second):
        assert first == second


def test_the_digest_is_the_one_that_stores_in_use_were_made_with() -> None:
    value = {"b": [1, 2.5, None, True], "a": "naïve", "c": {"nested": (1, "x")}}
    assert encode(value) == '{"a":"naïve","b":[1,2.5,null,true],"c":{"nested":[1,"x"]}}'.encode()
    assert digest(value) == "6efe557de5772ecb4caa84c5a887b3fa718a299d7c310a78395981653f1fef8b"


def test_one_and_true_and_one_point_zero_are_three_values() -> None:
    assert len({encode(value) for value in (1, True, 1.0)}) == 3


def test_an_enum_is_its_value_and_a_tuple_is_a_list() -> None:
    assert encode({"colour": Colour.RED, "size": (1, 2)}) == encode({"size": [1, 2], "colour": "red"})


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ({1, 2}, "sorted list"),
        (frozenset(), "sorted list"),
        (math.nan, "finite number"),
        (math.inf, "finite number"),
        (b"x", "hexadecimal digest"),
        (Path("data"), "Resources"),
        (object(), "convert it"),
        (lambda: 1, "convert it"),
        (1j, "two floats"),
        ({1: "x"}, "strings as keys"),
        ("\ud800", "decode the text properly"),
    ],
)
def test_what_is_not_stable_is_refused_with_the_remedy(value: Any, remedy: str) -> None:
    with pytest.raises(CanonicalError, match=remedy):
        encode(value)


def test_the_error_names_the_place() -> None:
    with pytest.raises(CanonicalError, match=r"value\.sources\[1\]\.path is a PosixPath"):
        encode({"sources": [{"path": "a"}, {"path": Path("b")}]})
