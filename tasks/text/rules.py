"""Rules of quality, by name, and how strict they are for each kind of text.

After Gopher (Rae et al. 2021, table A1), C4 (Raffel et al. 2020) and FineWeb (Penedo et al. 2024), but with limits per
kind of text: those papers' limits are for web pages, and would drop nearly every docstring as too short or too listy
(`rule_presets.py` has both). A rule's name is the reason that the ledger gives for what it drops. `None` turns it off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.lineage.config import neutral
from tasks.text.features import Features
from tasks.text.repetition import share

UNDESIRABLE = "undesirable"
STOP_WORD_LANGUAGES = (None, "en")
MOSTLY_UNSPACED = 0.3  # share of visible characters from which the length of words says nothing
FEW_LINES = 4  # texts of fewer lines may end them all in an ellipsis
WORDS_TO_REPEAT = 30  # texts of fewer words may repeat themselves


_NEW: dict[str, Any] = {"json_schema_extra": neutral(None)}


def _share(title: str, description: str) -> Any:
    return Field(None, ge=0, le=1, title=title, description=description, **_NEW)


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
        description=("fewest of: the, be, to, of, and, that, have, with; only for English and unknown languages"),
    )
    min_different_stop_words: int | None = Field(
        None, ge=0, title="Different stop words", description="how many of them must occur (Gopher: 2)", **_NEW
    )
    stop_words_from: int = Field(
        50, ge=1, title="Stop words from", description="shorter texts (words) need no stop words"
    )
    max_words: int | None = Field(None, ge=1, title="Most words", description="(Gopher: 100,000)", **_NEW)
    min_sentences: int | None = Field(
        None, ge=0, title="Fewest sentences", description="marks that end one (C4: 3)", **_NEW
    )
    max_lorem_ipsum: int | None = Field(
        None, ge=0, title="Lorem ipsum", description='most occurrences of "lorem ipsum" (C4: none)', **_NEW
    )
    max_lines_repeated: float | None = _share("Lines repeated", "largest share of lines seen before (Gopher: 0.3)")
    max_paragraphs_repeated: float | None = _share(
        "Paragraphs repeated", "largest share of paragraphs seen before (Gopher: 0.3)"
    )
    max_repeated_paragraphs: float | None = _share(
        "Repeated paragraphs", "largest share of text in paragraphs seen before (Gopher: 0.2)"
    )
    max_top_2_words: float | None = _share("Most frequent pair", "largest share of text in it (Gopher: 0.2)")
    max_top_3_words: float | None = _share("Most frequent 3 words", "largest share of text in them (Gopher: 0.18)")
    max_top_4_words: float | None = _share("Most frequent 4 words", "largest share of text in them (Gopher: 0.16)")
    max_repeated_5_words: float | None = _share("Repeated 5 words", "largest share of text in them (Gopher: 0.15)")
    max_repeated_6_words: float | None = _share("Repeated 6 words", "largest share of text in them (Gopher: 0.14)")
    max_repeated_7_words: float | None = _share("Repeated 7 words", "largest share of text in them (Gopher: 0.13)")
    max_repeated_8_words: float | None = _share("Repeated 8 words", "largest share of text in them (Gopher: 0.12)")
    max_repeated_9_words: float | None = _share("Repeated 9 words", "largest share of text in them (Gopher: 0.11)")
    max_repeated_10_words: float | None = _share("Repeated 10 words", "largest share of text in them (Gopher: 0.1)")
    sentence_lines: bool = Field(
        False,
        title="Only lines that are sentences",
        description="drop lines that end in no mark of a sentence (C4)",
        json_schema_extra=neutral(False),
    )
    min_line_words: int | None = Field(
        None, ge=1, title="Fewest words of a line", description="drop lines of fewer (C4: 5)", **_NEW
    )
    drop_page_lines: bool = Field(
        False,
        title="Drop lines about the page",
        description="drop lines that speak of JavaScript, cookies or terms of use (C4)",
        json_schema_extra=neutral(False),
    )
    drop_notices: bool = Field(
        False,
        title="Drop notices of a page",
        description="drop short lines that are nothing but a notice about cookies, JavaScript, terms or rights",
        json_schema_extra=neutral(False),
    )
    max_undesirable: int | None = Field(
        1, ge=0, title="Undesirable words", description="most occurrences of words on the list of undesirable ones"
    )


@dataclass(frozen=True)
class Rule:
    """Drops texts whose `measure` lies above the limit, or below it; `limit` is the field of RuleLimits that has it.

    applies: True for texts that the measure says something of. is_share: the measure is a share, from 0 to 1.
    """

    name: str
    limit: str
    measure: Callable[[Features], np.ndarray]
    applies: Callable[[Features], np.ndarray] | None = None
    is_share: bool = True

    @property
    def is_upper(self) -> bool:
        """Whether the limit is the largest value allowed; else the smallest."""
        return self.limit.startswith("max_")

    def fails(self, features: Features, measured: np.ndarray, limit: float) -> np.ndarray:
        """True for each text to drop, (N,)."""
        flags = measured > limit if self.is_upper else measured < limit
        return flags & self.applies(features) if self.applies else flags


def _spaced(features: Features) -> np.ndarray:
    return features.num_unspaced <= MOSTLY_UNSPACED * features.num_visible


def _wordy(features: Features) -> np.ndarray:
    return features.num_words >= WORDS_TO_REPEAT


def _top_run(features: Features, size: int) -> np.ndarray:
    return features.share_of_top_run(size)


def _repeated_runs(features: Features, size: int) -> np.ndarray:
    return features.share_in_repeated_runs(size)


RULES = (
    Rule("too_short", "min_chars", lambda text: text.num_chars, is_share=False),
    Rule("too_long", "max_chars", lambda text: text.num_chars, is_share=False),
    Rule("few_words", "min_words", lambda text: text.num_words, is_share=False),
    Rule("many_words", "max_words", lambda text: text.num_words, is_share=False),
    Rule("broken_encoding", "max_broken", lambda text: share(text.num_broken, text.num_chars)),
    Rule("few_letters", "min_letters", lambda text: share(text.num_letters, text.num_visible)),
    Rule("mostly_digits", "max_digits", lambda text: share(text.num_digits, text.num_visible)),
    Rule("short_words", "min_word_chars", lambda text: text.mean_word_chars, _spaced, is_share=False),
    Rule("long_words", "max_word_chars", lambda text: text.mean_word_chars, _spaced, is_share=False),
    Rule("wordless", "min_worded", lambda text: text.share_worded),
    Rule("unbroken_text", "max_unbroken", lambda text: text.share_unbroken),
    Rule("symbols", "max_symbols", lambda text: share(text.num_symbols, text.num_words)),
    Rule("braces", "max_braces", lambda text: share(text.num_braces, text.num_chars)),
    Rule("lorem_ipsum", "max_lorem_ipsum", lambda text: text.num_lorem_ipsum, is_share=False),
    Rule("bullets", "max_bullets", lambda text: text.share_bullets),
    Rule("ellipses", "max_ellipses", lambda text: text.share_ellipses, lambda text: text.num_lines >= FEW_LINES),
    Rule("no_sentences", "min_punctuated", lambda text: text.share_punctuated),
    Rule("few_sentences", "min_sentences", lambda text: text.num_sentences, is_share=False),
    Rule("short_lines", "max_short_lines", lambda text: text.share_short_lines),
    Rule("repeated_lines", "max_repeated_lines", lambda text: text.share_repeated_lines, _wordy),
    Rule("lines_repeated", "max_lines_repeated", lambda text: text.share_lines_repeated, _wordy),
    Rule("repeated_paragraphs", "max_repeated_paragraphs", lambda text: text.share_repeated_paragraphs, _wordy),
    Rule("paragraphs_repeated", "max_paragraphs_repeated", lambda text: text.share_paragraphs_repeated, _wordy),
    Rule("repeated_words", "max_repeated_words", lambda text: text.share_repeated_words, _wordy),
    *(Rule(f"top_{size}_words", f"max_top_{size}_words", partial(_top_run, size=size), _wordy) for size in (2, 3, 4)),
    *(
        Rule(f"repeated_{size}_words", f"max_repeated_{size}_words", partial(_repeated_runs, size=size), _wordy)
        for size in range(5, 11)
    ),
)  # fmt: skip
PAGE_LINE, NOTICE, NO_SENTENCE, FEW_LINE_WORDS, SHARED_LINE = (
    "page_line", "notice", "no_sentence_line", "few_line_words", "shared_line",
)  # fmt: skip
"""Rules that take lines out of documents and leave the rest."""
NO_STOP_WORDS, FEW_STOP_WORDS = "no_stop_words", "few_stop_words"
OTHER_LANGUAGE = "other_language"
LOW_QUALITY = "low_quality"
UNDESIRABLE_CONTENT = "undesirable_content"
REASONS = (
    OTHER_LANGUAGE, *(rule.name for rule in RULES), NO_STOP_WORDS, FEW_STOP_WORDS, UNDESIRABLE, LOW_QUALITY,
    UNDESIRABLE_CONTENT,
)  # fmt: skip
LIMIT_OF = {
    **{rule.name: rule.limit for rule in RULES},
    NO_STOP_WORDS: "min_stop_words",
    FEW_STOP_WORDS: "min_different_stop_words",
    UNDESIRABLE: "max_undesirable",
}
"""Rule → the field of RuleLimits that loosens it."""


@dataclass(frozen=True)
class Judgement:
    """Index in `REASONS` of the first rule that each text breaks, −1 if none, and what was measured: rule → (N,)."""

    reasons: np.ndarray
    measured: dict[str, np.ndarray]


def first_reasons(features: Features, limits: RuleLimits, english: np.ndarray, undesirable: np.ndarray) -> Judgement:
    """Judge texts of one kind.

    english: True where the language is English or unknown. undesirable: hits of the word list. Both (N,).
    """
    reasons = np.full(len(features.batch), -1, np.int64)
    measured: dict[str, np.ndarray] = {}

    def drop(flags: np.ndarray, reason: str) -> None:
        reasons[flags & (reasons < 0)] = REASONS.index(reason)

    for rule in RULES:
        limit = getattr(limits, rule.limit)
        if limit is not None:
            measured[rule.name] = rule.measure(features)
            drop(rule.fails(features, measured[rule.name], limit), rule.name)
    for reason in (NO_STOP_WORDS, FEW_STOP_WORDS):
        limit = getattr(limits, LIMIT_OF[reason])
        if limit is not None:
            different = reason == FEW_STOP_WORDS
            measured[reason] = features.num_different_stop_words if different else features.num_stop_words
            needed = english & (features.num_words >= limits.stop_words_from) & _spaced(features)
            drop(needed & (measured[reason] < limit), reason)
    if limits.max_undesirable is not None:
        measured[UNDESIRABLE] = undesirable
        drop(undesirable > limits.max_undesirable, UNDESIRABLE)
    return Judgement(reasons, measured)
