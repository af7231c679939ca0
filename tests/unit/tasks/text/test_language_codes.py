"""What sources call a language, as a code."""

import pytest

from tasks.text.language import identifier
from tasks.text.language_codes import language_code


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ("en-GB", "en"), ("en_US.UTF-8", "en"), ("ENG", "en"), (" English ", "en"), ("zh-Hant-TW", "zh"),
        ("Chinese (Simplified)", "zh"), ("cmn", "zh"), ("eng_Latn", "en"), ("ger", "de"), ("deu", "de"), ("nob", "no"),
        ("Norwegian Bokm\u00e5l", "no"), ("iw", "he"), ("nds", "nds"), ("gsw-CH", "gsw"), ("scottish gaelic", "gd"),
        ("Church Slavic", "cu"), ("Luba-Katanga", "lu"),
    ],
)  # fmt: skip
def test_tags_codes_locales_and_names(declared, code):
    assert language_code(declared) == code


@pytest.mark.parametrize("declared", ["", "xx", "und", "zxx", "unknown", "en de", "Klingon", "-", "42", "e", "x" * 100])
def test_what_names_no_language(declared):
    assert language_code(declared) is None


def test_every_language_that_can_be_told_is_its_own_code():
    assert [language_code(code) for code in identifier().languages] == identifier().languages
