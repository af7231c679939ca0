"""Rules of quality, by name, and how strict they are for each kind of text.

After Gopher (Rae et al. 2021, table A1), C4 (Raffel et al. 2020) and FineWeb (Penedo et al. 2024), but with limits per
kind of text: those papers' limits are for web pages, and would drop nearly every docstring as too short or too listy.
A rule's name is the reason that the ledger gives for what it drops. `None` turns a rule off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.text.features import Features

UNDESIRABLE = "undesirable"
STOP_WORD_LANGUAGES = (None, "en")
MOSTLY_UNSPACED = 0.3  # share of visible characters from which the length of words says nothing
FEW_LINES = 4  # texts of fewer lines may end them all in an ellipsis
WORDS_TO_REPEAT = 30  # texts of fewer words may repeat themselves


class RuleLimits(BaseModel):
    """How strict each rule is. An empty field turns its rule off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_chars: int | None = Field(None, ge=0, title="Fewest characters")
    max_chars: int | None = Field(None, ge=1, title="Most characters")
    min_words: int | None = Field(None, ge=0, title="Fewest words")
    max_broken: float | None = Field(
        0.01, ge=0, le=1, title="Undecodable characters", description="largest share of U+FFFD"
    )
    min_letters: float | None = Field(
        None, ge=0, le=1, title="Letters", description="smallest share of letters in visible characters"
    )
    max_digits: float | None = Field(
        None, ge=0, le=1, title="Digits", description="largest share of digits in visible characters"
    )
    min_word_chars: float | None = Field(None, ge=0, title="Shortest mean word", description="characters (Gopher: 3)")
    max_word_chars: float | None = Field(None, ge=0, title="Longest mean word", description="characters (Gopher: 10)")
    min_worded: float | None = Field(
        None, ge=0, le=1, title="Words with a letter", description="smallest share of words with a letter (Gopher: 0.8)"
    )
    max_unbroken: float | None = Field(
        0.3,
        ge=0,
        le=1,
        title="Unbroken text",
        description="largest share in runs of over 100 letters, digits: encoded files",
    )
    max_symbols: float | None = Field(
        None, ge=0, title="Symbols", description="most hash marks and ellipses per word (Gopher: 0.1)"
    )
    max_braces: float | None = Field(
        None, ge=0, le=1, title="Braces", description="largest share of { and } in characters (C4: none at all)"
    )
    max_bullets: float | None = Field(
        None, ge=0, le=1, title="Bullets", description="largest share of lines that are list items (Gopher: 0.9)"
    )
    max_ellipses: float | None = Field(
        None, ge=0, le=1, title="Ellipses", description="largest share of lines that end in one (Gopher: 0.3)"
    )
    min_punctuated: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Sentences",
        description="smallest share of lines that end in punctuation (FineWeb: 0.12)",
    )
    max_short_lines: float | None = Field(
        None, ge=0, le=1, title="Short lines", description="largest share of lines of at most 30 bytes (FineWeb: 0.67)"
    )
    max_repeated_lines: float | None = Field(
        None, ge=0, le=1, title="Repeated lines", description="largest share of text in lines seen before (Gopher: 0.2)"
    )
    max_repeated_words: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Repeated words",
        description="largest share of 5-word sequences seen before (Gopher: 0.15)",
    )
    min_stop_words: int | None = Field(
        None,
        ge=0,
        title="Stop words",
        description=(
            "fewest of: the, be, to, of, and, that, have, with (Gopher: 2); only for English and unknown languages"
        ),
    )
    stop_words_from: int = Field(
        50, ge=1, title="Stop words from", description="shorter texts (words) need no stop words"
    )
    max_undesirable: int | None = Field(
        1, ge=0, title="Undesirable words", description="most occurrences of words on the list of undesirable ones"
    )


@dataclass(frozen=True)
class Rule:
    """`fails(features, limit)` is True for each text to drop, (N,); `limit` is the field of RuleLimits it reads."""

    name: str
    limit: str
    fails: Callable[[Features, float], np.ndarray]


def _spaced(features: Features) -> np.ndarray:
    return features.num_unspaced <= MOSTLY_UNSPACED * features.num_visible


def _repeats(measured: np.ndarray, features: Features, limit: float) -> np.ndarray:
    return (measured > limit) & (features.num_words >= WORDS_TO_REPEAT)


RULES = (
    Rule("too_short", "min_chars", lambda text, limit: text.num_chars < limit),
    Rule("too_long", "max_chars", lambda text, limit: text.num_chars > limit),
    Rule("few_words", "min_words", lambda text, limit: text.num_words < limit),
    Rule("broken_encoding", "max_broken", lambda text, limit: text.num_broken > limit * text.num_chars),
    Rule("few_letters", "min_letters", lambda text, limit: text.num_letters < limit * text.num_visible),
    Rule("mostly_digits", "max_digits", lambda text, limit: text.num_digits > limit * text.num_visible),
    Rule("short_words", "min_word_chars", lambda text, limit: (text.mean_word_chars < limit) & _spaced(text)),
    Rule("long_words", "max_word_chars", lambda text, limit: (text.mean_word_chars > limit) & _spaced(text)),
    Rule("wordless", "min_worded", lambda text, limit: text.share_worded < limit),
    Rule("unbroken_text", "max_unbroken", lambda text, limit: text.share_unbroken > limit),
    Rule("symbols", "max_symbols", lambda text, limit: text.num_symbols > limit * text.num_words),
    Rule("braces", "max_braces", lambda text, limit: text.num_braces > limit * text.num_chars),
    Rule("bullets", "max_bullets", lambda text, limit: text.share_bullets > limit),
    Rule("ellipses", "max_ellipses", lambda text, limit: (text.share_ellipses > limit) & (text.num_lines >= FEW_LINES)),
    Rule("no_sentences", "min_punctuated", lambda text, limit: text.share_punctuated < limit),
    Rule("short_lines", "max_short_lines", lambda text, limit: text.share_short_lines > limit),
    Rule("repeated_lines", "max_repeated_lines",
         lambda text, limit: _repeats(text.share_repeated_lines, text, limit)),
    Rule("repeated_words", "max_repeated_words",
         lambda text, limit: _repeats(text.share_repeated_words, text, limit)),
)  # fmt: skip
NO_STOP_WORDS = "no_stop_words"
REASONS = (*(rule.name for rule in RULES), NO_STOP_WORDS, UNDESIRABLE)
LIMIT_OF = {
    **{rule.name: rule.limit for rule in RULES},
    NO_STOP_WORDS: "min_stop_words",
    UNDESIRABLE: "max_undesirable",
}

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


def first_reasons(features: Features, limits: RuleLimits, english: np.ndarray, undesirable: np.ndarray) -> np.ndarray:
    """Index in `REASONS` of the first rule that each text breaks, −1 if none, (N,).

    english: True where the language is English or unknown. undesirable: hits of the word list. Both (N,).
    """
    reasons = np.full(len(features.batch), -1, np.int64)

    def drop(flags: np.ndarray, reason: str) -> None:
        reasons[flags & (reasons < 0)] = REASONS.index(reason)

    for rule in RULES:
        limit = getattr(limits, rule.limit)
        if limit is not None:
            drop(rule.fails(features, limit), rule.name)
    if limits.min_stop_words is not None:
        needed = english & (features.num_words >= limits.stop_words_from)
        drop(needed & _spaced(features) & (features.num_stop_words < limits.min_stop_words), NO_STOP_WORDS)
    if limits.max_undesirable is not None:
        drop(undesirable > limits.max_undesirable, UNDESIRABLE)
    return reasons
