"""HTML to plain text, and what a page says of itself."""

import re

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import DOMContext, HTMLTree, traverse_dom

from tasks.text import licences

_HEAD = 50_000  # characters in which a page is expected to say what it is
_LANGUAGE = re.compile(
    r"<html\b[^>]{0,1000}?\b(?:xml:)?lang\s*=\s*[\"']?([A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3})\b", re.I
)
_LINK = re.compile(r"<(?:a|link)\b[^>]{0,1000}?\brel\s*=\s*[\"']?[^\"'>]{0,100}\blicense\b[^>]{0,1000}>", re.I)
_HREF = re.compile(r"\bhref\s*=\s*[\"']?([^\"'\s>]{1,500})", re.I)


_MANY_TAGS = 5_000  # from which it pays to look how deep they stand
_MOST_DEPTH = 512  # of elements in elements: what browsers allow


def html_to_text(html: str) -> str:
    """The main text of a page, without navigation, scripts and styles; paragraphs stay apart by blank lines.

    Of a page with elements deeper in each other than browsers allow, all text: to tell the main part takes time that
    grows with the square of the depth.
    """
    tree = HTMLTree.parse(html)
    main = html.count("<") < _MANY_TAGS or _depth(tree) <= _MOST_DEPTH
    return str(
        extract_plain_text(tree, main_content=main, alt_texts=False, links=False, preserve_formatting=True)
    ).strip()


def _depth(tree: HTMLTree) -> int:
    """How many elements stand in one another at most, below the body."""
    most = 0

    def look(place: DOMContext) -> None:
        nonlocal most
        most = max(most, place.depth)

    if tree.body is not None:
        traverse_dom(tree.body, look, elements_only=True)
    return most


def declared(html: str) -> tuple[str | None, str | None]:
    """Language (its BCP 47 tag in lower case) and licence (SPDX) that a page declares.

    The licence is that of its `rel="license"` link, as Creative Commons asks for.
    """
    language = _LANGUAGE.search(html, 0, _HEAD)
    link = _LINK.search(html, 0, _HEAD) or _LINK.search(html, max(0, len(html) - _HEAD))
    href = _HREF.search(link.group()) if link else None
    return language and language.group(1).lower(), href and licences.from_url(href.group(1))
