"""Undesirable text: pornography, spam and slurs, by words that hardly occur in any other text.

A word list is blunt: it removes what is plainly one thing or the other and leaves judgement to later work. So the list
is short and holds no word with an everyday or technical meaning, and one hit is not enough (see `RuleLimits`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

WORDS = (
    # pornography
    "anal sex", "bbw", "blowjob", "blowjobs", "bukkake", "camgirl", "camgirls", "creampie", "cumshot", "cumshots",
    "cunnilingus", "deepthroat", "dildo", "dildos", "escort girls", "fellatio", "gangbang", "handjob", "hardcore sex",
    "hentai", "horny", "live sex", "masturbate", "masturbating", "milf", "milfs", "naked girls", "nude pics",
    "oral sex", "porn", "porno", "pornhub", "pornstar", "sex chat", "sex dating", "sex toys", "sex videos", "sexcam",
    "sexy girls", "slut", "sluts", "squirting", "strap-on", "threesome", "webcam sex", "whore", "whores", "xhamster",
    "xnxx", "xvideos",
    # spam
    "buy cialis", "buy viagra", "cheap viagra", "cialis online", "casino bonus", "casino online", "escort service",
    "essay writing service", "free spins", "generic viagra", "no deposit bonus", "online casino", "online casinos",
    "online slots", "payday loan", "payday loans", "poker online", "replica watches", "slot gacor", "togel",
    "viagra online", "viagra without prescription",
    # slurs
    "chink", "chinks", "faggot", "faggots", "kike", "kikes", "nigger", "niggers", "spic", "spics", "tranny", "wetback",
    "wetbacks",
)  # fmt: skip


KELVIN = "\xe2\x84\xaa."  # in UTF-8: the one character beyond ASCII whose small letter is one of ASCII


class UndesirableWords:
    """Counts the words of the built-in list and `extra` ones, whole and in any case."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        words = sorted({word.strip().lower() for word in (*WORDS, *extra)} - {""}, key=lambda word: (-len(word), word))
        self._words = words
        either = "|".join(re.escape(word) for word in words)
        self._any = either  # in RE2, for the many texts that hold none of them
        self._whole = re.compile(rf"(?<!\w)(?:{either})(?!\w)")

    @property
    def signs(self) -> tuple[str, ...]:
        """Sequences, as signs.py has them, one of which stands in every text that holds any of the words, or would if
        its lines were even (encoding.py)."""
        if any(len(word) < 3 or "\n" in word for word in self._words):
            return (".",)  # hardly a text would be spared
        plain = [re.escape(word) if len(word) > 3 else f".{re.escape(word)}" for word in self._words if word.isascii()]
        return (*plain, KELVIN, *([] if len(plain) == len(self._words) else ["[\x80-\xff]"]))

    def counts(self, column: pa.Array) -> np.ndarray:
        """How often any of the words occurs in each text, (N,) int64."""
        found = pc.match_substring_regex(column, self._any, ignore_case=True)
        rows = np.flatnonzero(found.to_numpy(zero_copy_only=False))
        result = np.zeros(len(column), np.int64)
        for row, text in zip(rows, column.take(pa.array(rows)).to_pylist(), strict=True):
            result[row] = len(self._whole.findall(text.lower()))
        return result
