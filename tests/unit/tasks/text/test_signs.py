"""Signs stand where they are looked for, and `clean` does the same with them as without."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.clean_config import CleanConfig
from tasks.cleaner import Cleaner
from tasks.text.personal_data import DETECTORS, Detector
from tasks.text.signs import MOST_PLACES, Signs, Texts
from tasks.text.undesirable import WORDS
from tests.unit.tasks.planted import planted

SAMPLES = Path(__file__).parent / "samples" / "personal_data.jsonl"
PERSONAL = [json.loads(line.replace("·", ""))["text"] for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
FRAGMENTS = [
    "see :func:`~numpy.mean`", "`text <https://a.org>`_", "[name](http://b.org)", "<a>:b:`_c`", "a\0b", "\x1b[31m",
    "\r\n", "\x0c", "\x7f", " \n", "\t\n", "\n\n", "\n", " ", "_", ".", "-", "1", "é", "\u00a0", "\u200b", "Ã©", "PORN",
    "bbw", "free  spins", "61.139.214.77", "\u212ai\u212ae", "c++", "ésk-", "1234\u202f", "ſpic", "ÄRGER",
    "we use cookies", "All rights reserved.",
]  # fmt: skip
pieces = st.sampled_from(FRAGMENTS) | st.sampled_from(PERSONAL) | st.sampled_from(WORDS) | planted | st.text(max_size=3)
cut = st.tuples(pieces, st.integers(0, 60)).map(lambda drawn: drawn[0][drawn[1] :])
texts = st.lists(pieces | cut, max_size=6).map("".join)
ENCODABLE = st.characters(exclude_categories=["Cs"])
CONFIG = CleanConfig(undesirable_words=["c++", "Ärger", "two\twords"])
with_signs, without = Cleaner(CONFIG, compiled=True), Cleaner(CONFIG)


def prepared(cleaner: Cleaner, rows: list[tuple[str, str]]) -> list[object]:
    kinds, texts = zip(*rows, strict=True)
    found = cleaner.prepare(pa.table({"kind": pa.array(kinds), "text": pa.array(texts, pa.large_string())}))
    finds = {kind: counts.tolist() for kind, counts in found.finds.items()}
    lost = {rule: counts.tolist() for rule, counts in found.lines.counts.items()}
    return [found.texts.to_pylist(), found.mended, finds, found.undesirable.tolist(), lost]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["docstring", "markdown", "rst", "html", "text", "code"]), texts), min_size=1)
)
@example([("docstring", text) for text in PERSONAL])
@example([("text", text[start:]) for text in FRAGMENTS for start in (0, 1)])
@example([(kind, text) for kind in ("markdown", "html", "code") for text in FRAGMENTS])
def test_a_step_does_the_same_whether_it_looks_everywhere_or_where_a_sign_is(rows: list[tuple[str, str]]) -> None:
    assert prepared(with_signs, rows) == prepared(without, rows)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.hint[:20])
def test_whatever_a_pattern_of_personal_data_finds_bears_its_sign(detector: Detector) -> None:
    signs = Signs({"": detector.signs})

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(re.compile(detector.pattern, re.ASCII), alphabet=ENCODABLE))
    def bears_it(text: str) -> None:
        column = pa.array([text], pa.large_string())
        assert signs.of(column).all() or not pc.match_substring_regex(column, detector.hint)[0].as_py()

    bears_it()


PLACE = re.compile(r"\[[^\]]+\]|\\.|[^\\]", re.DOTALL)
members = st.sampled_from(
    ["a", "B", r"\.", r"\d", r"[^\w\-]", "[ab-]", "[0-9A-F]", "_", "[ \u00a0]", "[\x80-\xff]", " ", "\n", "."]
)
sequences = st.lists(members, min_size=1, max_size=7).map("".join)
near = st.text("abBAc.@-_ 019\né\u00a0", max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(sequences, min_size=1, max_size=3), min_size=1, max_size=3), st.lists(near, max_size=5))
@example([[r"ab\.c9"]], ["ab.c9", "ab.c", "xab.c9y", "AB.c9", "", "ab.ab.c9"])
@example([["a[ab]c"], ["c9"]], ["x" * 20 + "abc9" + "x" * more for more in range(30)])
@example([["aaaaa", "aaaab", "[^a]aaa"]], ["aaaa", "aaaaa", "baaab", "aaa", "xaaa"])
def test_a_text_bears_the_signs_whose_sequences_stand_in_it(signs: list[list[str]], texts: list[str]) -> None:
    found = Signs({str(number): sign for number, sign in enumerate(signs)}).of(pa.array(texts, pa.large_string()))
    for text, bits in zip(texts, found.tolist(), strict=True):
        for number, sign in enumerate(signs):
            if any(stands(sequence, text) for sequence in sign):
                assert bits >> number & 1
            elif bits >> number & 1:  # it is told from strings of four or more in small letters
                assert any(stands_in_small_letters(sequence, text) for sequence in sign)


def stands(sequence: str, text: str) -> bool:
    """Whether a sequence stands in a text with a line end before it, and does not end before it."""
    return any(re.compile(sequence, re.DOTALL | re.ASCII).fullmatch(window) for window in windows(sequence, text))


def stands_in_small_letters(sequence: str, text: str) -> bool:
    """Whether a sequence of at least four places does when what stands at each has the bit of small letters."""
    places = [re.compile(place, re.DOTALL | re.ASCII) for place in PLACE.findall(sequence)]
    either = [{byte | 0x20 for byte in range(256) if place.fullmatch(chr(byte))} for place in places]
    small = ([ord(byte) | 0x20 for byte in window] for window in windows(sequence, text))
    return len(places) >= 4 and any(all(map(set.__contains__, either, window)) for window in small)


def windows(sequence: str, text: str) -> Iterator[str]:
    """What stands in the bytes of a text where a sequence may."""
    size, data = len(PLACE.findall(sequence)), f"\n{text}".encode().decode("latin-1")
    return (data[end - size : end] for end in range(max(size, 2), len(data) + 1))


def test_what_cannot_be_followed_is_refused() -> None:
    with pytest.raises(AssertionError, match="too many"):
        Signs({"one": [r"\d" * (MOST_PLACES + 1)]})


def test_a_text_bears_the_signs_of_what_it_was_rewritten_to() -> None:
    texts = Texts(pa.array(["ab", "cd", "ef"], pa.large_string()), Signs({"x": ["ab"], "y": ["yz"]}))
    texts.rewrite(texts.bearing("x"), lambda part: pa.array(["yz"]))
    texts.rewrite(np.array([False, False, True]), lambda part: part)
    assert (texts.bearing("x").tolist(), texts.bearing("y").tolist()) == ([False] * 3, [True, False, False])
    texts.rewrite(np.array([True, False, True]), lambda part: pa.array([text.as_py() * 2 for text in part]))
    assert texts.column.to_pylist() == ["yzyz", "cd", "efef"]
    assert texts.where(np.array([True, True, False])).to_pylist() == ["yzyz", "cd"]


@pytest.mark.parametrize("signs", [None, Signs({"x": ["ab"]})], ids=["numpy", "compiled"])
def test_texts_are_trimmed_where_they_may_have_to_be(signs: Signs | None) -> None:
    rows = ["", "\n", "\n\n a", " a", "a\u3000", "é", "a\t\n ", "b", "\u3000"]
    texts = Texts(pa.array(rows, pa.string()), signs)
    texts.trim()
    assert texts.column.to_pylist() == ["", "", " a", " a", "a", "é", "a", "b", ""]
    assert Texts(pa.array([], pa.string()), signs).column.to_pylist() == []
