"""How strict the rules are: a preset for each kind of text, and the three papers' own for web pages, by name."""

from __future__ import annotations

from typing import Literal

from tasks.text.rules import RuleLimits

# Docstrings are short and structured: a line or two, then lists of parameters and examples.
DOCSTRING = RuleLimits(
    min_chars=20,
    min_words=3,
    max_chars=100_000,
    min_letters=0.4,
    max_digits=0.4,
    min_worded=0.35,
    max_ellipses=0.5,
    max_repeated_lines=0.6,
    max_repeated_words=0.6,
)
# Guides and read-me files: prose with code, tables and lists.
MARKDOWN = RuleLimits(
    min_chars=80,
    min_words=15,
    min_letters=0.5,
    max_digits=0.3,
    min_word_chars=2.5,
    max_word_chars=15,
    min_worded=0.5,
    max_symbols=0.2,
    max_ellipses=0.3,
    max_repeated_lines=0.3,
    max_repeated_words=0.4,
    min_stop_words=1,
)
# Web pages: the papers' own limits, a little looser where extraction leaves menus and tables.
HTML = RuleLimits(
    min_chars=200,
    min_words=50,
    min_letters=0.6,
    max_digits=0.2,
    min_word_chars=3,
    max_word_chars=10,
    min_worded=0.8,
    max_symbols=0.1,
    max_braces=0.02,
    max_bullets=0.9,
    max_ellipses=0.3,
    min_punctuated=0.12,
    max_short_lines=0.67,
    max_repeated_lines=0.2,
    max_repeated_words=0.2,
    min_stop_words=2,
    drop_notices=True,
)
# Plain text of unknown origin.
TEXT = RuleLimits(
    min_chars=80,
    min_words=15,
    min_letters=0.5,
    max_digits=0.25,
    min_word_chars=2.5,
    max_word_chars=12,
    min_worded=0.65,
    max_symbols=0.1,
    max_braces=0.03,
    max_bullets=0.9,
    max_ellipses=0.3,
    max_repeated_lines=0.3,
    max_repeated_words=0.3,
    min_stop_words=2,
    drop_notices=True,  # the pages of web archives are plain text
)
CODE = RuleLimits(
    min_chars=40,
    min_words=5,
    max_chars=1_000_000,
    min_letters=0.25,
    max_digits=0.5,
    max_word_chars=60,
    max_repeated_lines=0.6,
)

# Rae et al. 2021, appendix A.1.1 and table A1.
GOPHER = RuleLimits(
    min_words=50,
    max_words=100_000,
    min_word_chars=3,
    max_word_chars=10,
    min_worded=0.8,
    max_symbols=0.1,
    max_bullets=0.9,
    max_ellipses=0.3,
    min_different_stop_words=2,
    max_lines_repeated=0.3,
    max_paragraphs_repeated=0.3,
    max_repeated_lines=0.2,
    max_repeated_paragraphs=0.2,
    max_top_2_words=0.2,
    max_top_3_words=0.18,
    max_top_4_words=0.16,
    max_repeated_5_words=0.15,
    max_repeated_6_words=0.14,
    max_repeated_7_words=0.13,
    max_repeated_8_words=0.12,
    max_repeated_9_words=0.11,
    max_repeated_10_words=0.1,
)
# Raffel et al. 2020, section 2.2: what it drops of a page's lines, then of pages.
C4 = RuleLimits(
    sentence_lines=True,
    min_line_words=5,
    drop_page_lines=True,
    min_sentences=3,
    max_braces=0,
    max_lorem_ipsum=0,
    max_undesirable=0,
)
# Penedo et al. 2024, section 3: Gopher's rules; C4's as first published, lines that are no sentences kept; three more.
FINEWEB = GOPHER.model_copy(
    update={
        "min_line_words": 3,
        "drop_page_lines": True,
        "min_sentences": 5,
        "max_braces": 0,
        "max_lorem_ipsum": 0,
        "min_punctuated": 0.12,
        "max_short_lines": 0.67,
        "max_repeated_lines": 0.1,
    }
)
Preset = Literal["by_kind", "gopher", "c4", "fineweb"]
PAPERS: dict[Preset, RuleLimits] = {"gopher": GOPHER, "c4": C4, "fineweb": FINEWEB}
