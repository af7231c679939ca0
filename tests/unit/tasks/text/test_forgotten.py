"""Texts are recognised by digest and signature: the same, the nearly same, and nothing else."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.forgotten import FILE, Forgotten, Wording, read_rows, rows_of, source_digest, write_list

WORDS = [first + last for first in ("bal", "dor", "fen", "gil", "hum", "jav") for last in ("a", "e", "ilo", "u")]


def text(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(words: str, places: int, seed: int = 0) -> str:
    parts = words.split()
    for place in random.Random(seed).sample(range(len(parts)), places):
        parts[place] = "zzz"
    return " ".join(parts)


def jaccard(left: str, right: str) -> float:
    sets = [set(zip(*(words.split()[start:] for start in range(5)), strict=False)) for words in (left, right)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def known(*texts: str, threshold: float | None = 0.8) -> Forgotten:
    return Forgotten(rows_of([Wording(one, threshold=threshold) for one in texts]))


def test_the_same_text_is_found_however_it_is_spaced_and_capitalised() -> None:
    found = known(text(1), threshold=None).likeness(pa.array([text(1).upper().replace(" ", "\n  "), text(2), None, ""]))
    assert found.tolist() == [1.0, -1.0, -1.0, -1.0]


@pytest.mark.parametrize(("places", "near"), [(1, True), (3, True), (24, False), (60, False)])
def test_near_texts_are_found_from_the_threshold_on(places: int, near: bool) -> None:
    asked = text(1, 360)
    others = [changed(asked, places, seed) for seed in range(30)]
    assert all((jaccard(asked, other) > 0.9) if near else (jaccard(asked, other) < 0.7) for other in others)
    assert (known(asked).among(pa.array(others)) == near).all()
    assert not known(asked, threshold=None).among(pa.array(others)).any(), "exact means exact"


def test_estimates_are_close_to_the_truth() -> None:
    others = [changed(text(1, 400), places, places) for places in range(1, 9)]
    found = known(text(1, 400)).likeness(pa.array(others))
    truth = np.array([jaccard(text(1, 400), other) for other in others])
    assert np.abs(found - truth)[found >= 0].max() < 4 * 0.025
    assert (found >= 0).sum() >= 6


def test_markup_does_not_hide_a_text() -> None:
    page = f"<html><body><h1>News</h1><p class='lead'><b>{text(1)}</b></p><script>x = 1</script></body></html>"
    assert not known(text(1), threshold=None).among(pa.array([page]), ["text"]).any()
    assert known(text(1)).among(pa.array([page, page]), ["html", "text"]).tolist()[0]


def test_texts_without_words_are_alike_only_if_equal() -> None:
    assert known("!!!").likeness(pa.array(["!!!", "???", ""])).tolist() == [1.0, -1.0, -1.0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=6), st.lists(st.text(max_size=40), max_size=6))
def test_only_what_is_equal_up_to_case_and_spacing_is_exact(texts: list[str], others: list[str]) -> None:
    def plain(one: str) -> str:
        return " ".join(one.lower().split())

    found = known(*texts, threshold=None).among(pa.array(others, pa.string()))
    mine = {plain(one) for one in texts}
    # Arrow and Python lower a few letters differently; both sides here are lowered by Arrow alone.
    expected = [bool(plain(one)) and plain(one) in mine for one in others]
    assert [bool(value) for value in found] == expected or any(not one.isascii() for one in (*texts, *others))


def test_a_list_is_the_same_whoever_forgot_first_and_holds_no_text(tmp_path) -> None:
    rows = rows_of([Wording(text(n), f"id{n}", f"file:///x.jsonl#{n}", 0.8 if n % 2 else None) for n in range(20)])
    for folder, given_rows in (("a", rows), ("b", [*rows[::-1], *rows])):
        (tmp_path / folder).mkdir()
        assert write_list(given_rows, tmp_path / folder) == 20
    content = (tmp_path / "a" / FILE).read_bytes()
    assert content == (tmp_path / "b" / FILE).read_bytes()
    assert not any(word.encode() in content for word in text(0).split())
    again = Forgotten.read(tmp_path / "a")
    assert len(read_rows(tmp_path / "a")) == 20
    assert again.among(pa.array([text(n) for n in range(22)])).tolist() == [True] * 20 + [False] * 2
    assert "id7" in again.ids and source_digest("file:///x.jsonl#7") in again.sources


def test_an_address_that_texts_share_is_not_remembered() -> None:
    assert source_digest("file:///rows.jsonl") is None
    assert source_digest("pypi://rich/console.py#Console.print") is not None


def test_nothing_forgotten_recognises_nothing() -> None:
    assert not Forgotten.read(None)
    assert not Forgotten().among(pa.array([text(1), ""])).any()
