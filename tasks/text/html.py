"""HTML to plain text."""

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree


def html_to_text(html: str) -> str:
    """The main text of a page, without navigation, scripts and styles; paragraphs stay apart by blank lines."""
    tree = HTMLTree.parse(html)
    return str(
        extract_plain_text(tree, main_content=True, alt_texts=False, links=False, preserve_formatting=True)
    ).strip()
