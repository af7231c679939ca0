"""Mends what wrong decoding, control characters and unlike line ends did to text. Works on Arrow columns.

Each repair first looks, with a search that costs little, whether a text needs it; only those that do are rewritten.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import ftfy
import pyarrow as pa
import pyarrow.compute as pc

# The first byte of a UTF-8 sequence read as Latin-1 or Windows-1252, with a second one behind it ("Ã©", "â€™", "ðŸ˜");
# the same for Windows-1251 ("вЂ™", "Р°"), Mac Roman ("√©", "‚Äô") and code page 437 ("├⌐", "ΓÇÖ").
GARBLED = (
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|\u0432\u0402|[\u0420\u0421][\u0080-\u00bf\u0402-\u040f\u0452-\u045f\u2013-\u203a]|\u221a[\u00a0-\u00ff\u2020-\u2126]"
    "|\u201a\u00c4|\u251c[\u0080-\u25a0]|\u0393\u00c7|[\u0080-\u009f]"
)
LINE_ENDS = "\r\n?|[\u000b\u000c\u0085\u2028\u2029]"
TERMINAL_CODES = "\x1b\\[[0-?]*[ -/]*[@-~]"
# Control characters but tab and newline; soft hyphen; zero-width space and joiner of words, byte-order mark; marks that
# turn the direction of writing; tags; noncharacters. Kept: U+200C and U+200D, which Persian, Hindi and emoji need.
CONTROLS = (
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)
DROPS = ((LINE_ENDS, "\n"), (TERMINAL_CODES, ""), (CONTROLS, ""))
DROPPED = f"{CONTROLS}|[\u2028\u2029]"  # what one of them finds holds one of these
ASCII_CONTROLS = "[\u0000-\u0008\u000b-\u001f\u007f]"
# Sequences as signs.py has them, one of which stands in every text that `even_lines` changes.
LINE_SIGNS = ("[ \t\u00a0]\n", "\n\n\n")


def rewrite(column: pa.Array, needed: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """The column with the texts where `needed` holds replaced by `function` of them."""
    count = needed.true_count
    if not count:
        return column
    if count == len(column):
        return function(column).cast(column.type)
    return pc.replace_with_mask(column, needed, function(column.filter(needed)).cast(column.type))


def each(function: Callable[[str], str]) -> Callable[[pa.Array], pa.Array]:
    """A function of a text as a function of a column."""
    return lambda column: pa.array([function(text) for text in column.to_pylist()], pa.large_string())


def substitute(column: pa.Array, hint: str, *rules: tuple[str, str]) -> pa.Array:
    """Apply rules (regular expression, replacement; RE2) in turn to the texts in which the expression `hint` occurs."""

    def apply(part: pa.Array) -> pa.Array:
        for pattern, replacement in rules:
            part = pc.replace_substring_regex(part, pattern, replacement)
        return part

    return rewrite(column, pc.match_substring_regex(column, hint), apply)


def mend(column: pa.Array) -> tuple[pa.Array, int]:
    """Undo decoding in a wrong encoding (ftfy, Speer 2019), make line ends \\n, drop control characters, compose (NFC).

    Gives the column and how many texts were decoded anew.
    """
    wide = pc.invert(pc.string_is_ascii(column))
    num_mended = 0

    def mend_wide(part: pa.Array) -> pa.Array:
        nonlocal num_mended
        mended = rewrite(part, pc.match_substring_regex(part, GARBLED), each(ftfy.fix_encoding))
        num_mended = pc.sum(pc.not_equal(part, mended)).as_py() or 0
        return each(compose)(substitute(mended, DROPPED, *DROPS))

    column = rewrite(column, wide, mend_wide)  # in which no control character is left
    return substitute(column, ASCII_CONTROLS, *DROPS), num_mended


def compose(text: str) -> str:
    """The text in Unicode's composed form (Arrow's utf8_normalize with form="NFC" decomposes, as of 25.0)."""
    return unicodedata.normalize("NFC", text)  # which looks first whether anything has to change


def even_lines(column: pa.Array) -> pa.Array:
    """Drop blanks at line ends, and more than one empty line in a row."""
    return substitute(column, r"[ \t\x{a0}]\n|\n\n\n", (r"[ \t\x{a0}]+\n", "\n"), (r"\n{3,}", "\n\n"))


def trim(column: pa.Array) -> pa.Array:
    """Drop white space around each text, but for blanks before its first line."""
    return pc.utf8_rtrim_whitespace(pc.utf8_ltrim(column, "\n")) if len(column) else column
