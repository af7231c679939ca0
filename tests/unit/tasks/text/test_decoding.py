"""Bytes to text: every encoding that is tried, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.decoding import NotText, decode, without_surrogates


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff")))
def test_utf8_is_read_back(text):
    assert decode(text.encode()) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "cp1252", "latin-1"])
def test_other_encodings_are_recognised(encoding):
    assert decode("Größe: 5 ä – naïve".replace("–", "-").encode(encoding)) == "Größe: 5 ä - naïve"


def test_nul_bytes_in_text_stay_for_the_cleaning_stage():
    assert decode(b"some text with one \x00 in it") == "some text with one \x00 in it"


def test_binary_data_is_refused():
    with pytest.raises(NotText):
        decode(bytes(range(256)))


def test_lone_surrogates_are_replaced_and_pairs_joined():
    assert without_surrogates("a\ud800b") == "a\ufffdb"
    assert without_surrogates("\ud83d\ude00") == "😀"
    assert without_surrogates("plain") == "plain"
