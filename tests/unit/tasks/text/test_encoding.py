"""What is mended, and that sound text is left alone."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.encoding import even_lines, mend, trim


def column(*texts: str) -> pa.Array:
    return pa.array(texts, pa.large_string())


def tidy(texts: pa.Array) -> pa.Array:
    return trim(even_lines(texts))


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("It costs â‚¬5 — no, itâ€™s free", "It costs €5 — no, it’s free"),
        ("cafÃ© crÃ¨me", "café crème"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
        ("l‚Äôhumanit√©", "l’humanité"),
    ],
)
def test_wrongly_decoded_text_is_decoded_anew(broken, mended):
    found, changed = mend(column("plain", broken))
    assert found.to_pylist() == ["plain", mended]
    assert changed == 1


@pytest.mark.parametrize(
    "sound", ["São Paulo, Ångström, naïve", "Привет, мир", "中文 日本語 한국어", "مي\u200cخواهم", "👩‍👩‍👧", "²√x"]
)
def test_sound_text_is_left_alone(sound):
    found, changed = mend(column(sound))
    assert (found.to_pylist(), changed) == ([sound], 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("nul\x00 bell\x07 tab\t", "nul bell tab\t"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("zero\u200bwidth \ufeffbom soft\u00adhyphen \u202ertl\u202c", "zerowidth bom softhyphen rtl"),
        ("e\u0301", "é"),
    ],
)
def test_controls_line_ends_and_composition(text, expected):
    assert mend(column(text, "x"))[0].to_pylist() == [expected, "x"]


@given(st.lists(st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"])), max_size=4))
def test_what_becomes_of_a_text_depends_on_no_other(texts):
    together = tidy(mend(column(*texts))[0]).to_pylist()
    assert together == [tidy(mend(column(text))[0]).to_pylist()[0] for text in texts]


def test_tidy():
    assert tidy(column("\n\n  a  \n\n\n\n\tb \t\n")).to_pylist() == ["  a\n\n\tb"]
    assert tidy(column()).to_pylist() == []
