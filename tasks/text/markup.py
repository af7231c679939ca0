"""Takes the markup off text and leaves what a reader sees: HTML, Markdown, reStructuredText and docstrings.

Code stays as it is. So do backquotes, lists and field lists, which structure a text without hiding it.
"""

from __future__ import annotations

import re

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from tasks.text.encoding import each, substitute
from tasks.text.html import html_to_text

# Lines of web pages that say nothing of their subject (after C4, Raffel et al. 2020).
BOILERPLATE = re.compile(
    r"(?im)^.*(enable javascript|javascript is (disabled|required)|(cookie|privacy) policy|we use cookies|"
    r"accept (all )?cookies|terms of (use|service)|all rights reserved|skip to (main )?content).*$"
)
FENCE = re.compile(r"(?ms)^( {0,3}(?:```+|~~~+)).*?(?:^\1[`~]*[ \t]*$|\Z)")
MARKDOWN_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"(?m)^ {0,3}\[[^\]\n]+\]:[ \t]*\S+.*$"), ""),  # [name]: https://…
    (re.compile(r"\[!\[[^\]\n]*\]\([^)\n]*\)\](?:\([^)\n]*\)|\[[^\]\n]*\])"), ""),  # badges: a picture as a link
    (re.compile(r"!\[[^\]\n]*\](?:\([^)\n]*\)|\[[^\]\n]*\])"), ""),  # pictures
    (re.compile(r"\[([^\]\n]+)\](?:\([^)\s]+(?:\s+\"[^\"\n]*\")?\)|\[[^\]\n]*\])"), r"\1"),  # links
    (re.compile(r"<(https?://[^>\s]+)>"), r"\1"),
    (
        re.compile(
            r"</?(?:a|b|br|center|code|dd|details|div|dl|dt|em|font|h[1-6]|hr|i|img|kbd|li|ol|p|picture|pre|small|"
            r"source|span|strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul|video)\b[^>]*>",
            re.IGNORECASE,
        ),
        "",
    ),
    (re.compile(r"(\*\*|__)(?=\S)([^\n]*?\S)\1"), r"\2"),  # strong
    (re.compile(r"(?m)^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$"), r"\1"),  # headings
    (re.compile(r"(?m)^(?:=+|-{3,}|\*{3,}|_{3,})[ \t]*$"), ""),  # rules and underlines
)
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


def strip_html(html: str) -> str:
    """The text of a page without navigation, scripts and styles; of a fragment without a main part, all its text."""
    text = html_to_text(html) or str(extract_plain_text(html, preserve_formatting=True, links=False)).strip()
    return BOILERPLATE.sub("", text)


def strip_markdown(text: str) -> str:
    """Markdown without links, pictures, emphasis, HTML and heading marks; fenced code is left alone."""
    pieces, end = [], 0
    for fence in FENCE.finditer(text):
        pieces += [_apply(MARKDOWN_RULES, text[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*pieces, _apply(MARKDOWN_RULES, text[end:])])


def strip_rst(text: str) -> str:
    """reStructuredText without directives that show nothing, targets and underlines; `strip_roles` does roles."""
    return _apply(RST_RULES, text)


def _apply(rules: tuple[tuple[re.Pattern[str], str], ...], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def strip_roles(column: pa.Array) -> pa.Array:
    """Sphinx roles and links, and links as Markdown writes them, replaced by what they show."""
    return substitute(column, r":`|>`_|\]\(http", (ROLE_SHORT, r"`\1`"), (ROLE, r"`\1`"), (RST_LINK, r"\1"),
                      (MARKDOWN_LINK, r"\1"))  # fmt: skip


def strip_markup(column: pa.Array, kind: str) -> pa.Array:
    """A column of texts of one kind ("docstring", "markdown", "rst", "html", "text", "code") as plain text."""
    if kind == "html":
        return each(strip_html)(column)
    if kind == "markdown":
        return each(strip_markdown)(column)
    if kind == "rst":
        return strip_roles(each(strip_rst)(column))
    if kind == "docstring":
        return strip_roles(column)
    return column
