"""Takes the markup off text and leaves what a reader sees: HTML, Markdown, reStructuredText and docstrings.

Code stays as it is. So do backquotes, lists and field lists, which structure a text without hiding it.
"""

from __future__ import annotations

import re

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from tasks.text.encoding import each, substitute
from tasks.text.html import html_to_text

FENCE = re.compile(r"(?ms)^( {0,3}(?:```+|~~~+)).*?(?:^\1[`~]*[ \t]*$|\Z)")
# How long the parts of a mark may be. Without a bound, each bracket that nothing closes is followed to the end of its
# line, and a line of many brackets takes the square of its length. A picture may stand in its own address (data:).
_NAME = r"[^\]\n]{0,500}+"
_ADDRESS = r"(?:data:[^)\n(]*+|[^)\n]{0,2000}+)"
MARKDOWN_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?m)^ {0,3}\[[^\]\n]+\]:[ \t]*\S+.*$"), ""),  # [name]: https://…
    (re.compile(rf"\[!\[{_NAME}\]\({_ADDRESS}\)\](?:\({_ADDRESS}\)|\[{_NAME}\])"), ""),  # badges: a picture as a link
    (re.compile(rf"!\[{_NAME}\](?:\({_ADDRESS}\)|\[{_NAME}\])"), ""),  # pictures
    (
        re.compile(
            rf"\[(?!\])({_NAME})\](?:\((?:data:[^)\s(]*+|[^)\s]{{1,2000}}+)(?:\s+\"[^\"\n]{{0,1000}}+\")?\)|\[{_NAME}\])"
        ),
        r"\1",
    ),  # links
    (re.compile(r"<(https?://[^>\s]{1,2000}+)>"), r"\1"),
    (
        re.compile(
            r"</?(?:a|b|br|center|code|dd|details|div|dl|dt|em|font|h[1-6]|hr|i|img|kbd|li|ol|p|picture|pre|small|"
            r"source|span|strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul|video)\b"
            r"(?:[^<>]*+>|[^>]{0,1000}+>)",
            re.IGNORECASE,
        ),
        "",
    ),
)
_STRONG = re.compile(r"\*(?=\*\S)|_(?=_\S)")  # its first character, so that all places are seen
_HEADING = re.compile(r"(?m)^ {0,3}#{1,6}[ \t]+(.*)$")
_UNDERLINE = re.compile(r"(?m)^(?:=+|-{3,}|\*{3,}|_{3,})[ \t]*$")  # and rules
RST_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"(?m)^\.\. (?:\|[^|\n]+\| )?(?:image|figure|contents|toctree|raw|include|highlight|meta)::.*\n"
            r"(?:[ \t]+\S.*\n|[ \t]*\n(?=[ \t]+\S))*"
        ),
        "",
    ),
    (re.compile(r"(?m)^\.\. _[^:\n]+:.*$"), ""),  # targets
    (re.compile(r"(?m)^\.\. (?:code|code-block|sourcecode)::.*$"), ""),
    (re.compile(r"(?m)^([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$"), ""),  # underlines of headings
    (re.compile(r"(?m)^:(?:orphan|tocdepth):.*$"), ""),
    (re.compile(r"`([^`<>\n]+)`__?(?!\w)"), r"\1"),  # links by name
)
# Sphinx roles, :func:`~numpy.mean` → `mean`, :class:`the array <ndarray>` → `the array`; links `text <url>`_ → text.
ROLE_SHORT = r":[A-Za-z][\w.+\-]*(?::[\w.+\-]+)?:`~(?:[\w]+\.)*(\w+)`"
ROLE = r":[A-Za-z][\w.+\-]*(?::[\w.+\-]+)?:`!?([^`<]*[^`<\s])(?:\s*<[^`>]*>)?`"
RST_LINK = r"`([^`<]*[^`<\s])\s*<[^`>]*>`__?"
MARKDOWN_LINK = r"\[([^\[\]\n]+)\]\(https?://[^)\s]+\)"
ROLE_RULES = (  # what stands in every find, the expression, what it is replaced by
    (":`~", ROLE_SHORT, r"`\1`"),
    (":`", ROLE, r"`\1`"),
    (">`_", RST_LINK, r"\1"),
    (r"\]\(http", MARKDOWN_LINK, r"\1"),
)


WHOLLY_MARKED = ("markdown", "rst", "html")
"""Kinds of which any text may be marked up; in others `strip_markup` changes none without MARKUP of places.py."""


def strip_html(html: str) -> str:
    """The text of a page without navigation, scripts and styles; of a fragment without a main part, all its text."""
    return html_to_text(html) or str(extract_plain_text(html, preserve_formatting=True, links=False)).strip()


def strip_markdown(text: str) -> str:
    """Markdown without links, pictures, emphasis, HTML and heading marks; fenced code is left alone."""
    pieces, end = [], 0
    for fence in FENCE.finditer(text):
        pieces += [_bare(text[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*pieces, _bare(text[end:])])


def _bare(text: str) -> str:
    text = _without_strong(_apply(MARKDOWN_RULES, _without_comments(text)))
    text = _HEADING.sub(lambda found: found[1].rstrip("#").rstrip(" \t"), text)
    return _UNDERLINE.sub("", text)


def _without_comments(text: str) -> str:
    """HTML without comments; one that never ends stays."""
    pieces, end = [], 0
    while (begin := text.find("<!--", end)) >= 0 and (last := text.find("-->", begin + 4)) >= 0:
        pieces.append(text[end:begin])
        end = last + 3
    return "".join([*pieces, text[end:]])


def _without_strong(text: str) -> str:
    """Without the marks around **strong** and __strong__, which stand on one line and close behind a visible character.

    A line in which a mark was not closed is not searched again for that mark: it would take the square of its length.
    """
    pieces, end, line_end = [], 0, -1
    unclosed = {"**": -1, "__": -1}  # up to where none closes
    for found in _STRONG.finditer(text):
        begin, mark = found.start(), found[0] * 2
        if begin < max(end, unclosed[mark]):
            continue
        if begin > line_end:
            line_end = text.find("\n", begin)
            line_end = len(text) if line_end < 0 else line_end
        close = text.find(mark, begin + 3, line_end)
        while close >= 0 and text[close - 1].isspace():
            close = text.find(mark, close + 1, line_end)
        if close < 0:
            unclosed[mark] = line_end
            continue
        pieces += [text[end:begin], text[begin + 2 : close]]
        end = close + 2
    return "".join([*pieces, text[end:]])


def strip_rst(text: str) -> str:
    """reStructuredText without directives that show nothing, targets and underlines; `strip_roles` does roles."""
    return _apply(RST_RULES, text)


def _apply(rules: tuple[tuple[re.Pattern[str], str], ...], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def strip_roles(column: pa.Array, compiled: bool = False) -> pa.Array:
    """Sphinx roles and links, and links as Markdown writes them, replaced by what they show. compiled: by machine code
    (roles.py)."""
    if compiled:
        from tasks.text import roles  # see minhash.py

        return roles.strip(column.cast(pa.large_string()))
    for sign, pattern, replacement in ROLE_RULES:
        column = substitute(column, sign, (pattern, replacement))
    return column


def strip_markup(column: pa.Array, kind: str, compiled: bool = False) -> pa.Array:
    """A column of texts of one kind ("docstring", "markdown", "rst", "html", "text", "code") as plain text."""
    if kind == "html":
        return each(strip_html)(column)
    if kind == "markdown":
        return each(strip_markdown)(column)
    if kind == "rst":
        return strip_roles(each(strip_rst)(column), compiled)
    if kind == "docstring":
        return strip_roles(column, compiled)
    return column
