"""Text of PDF files, by PDFium, the library that renders them in Chromium."""

from pathlib import Path
from threading import Lock

import pypdfium2

from tasks.text.decoding import without_surrogates
from tasks.text.readers import Passage, Rejected, newlines

_MOST_PAGES = 20_000
_PDFIUM = Lock()  # it may be called by one thread at a time


def read_pdf(path: Path, max_bytes: int) -> Passage | Rejected:
    """The text of a PDF's pages, with a blank line between two; Rejected above ``max_bytes`` of text or if damaged.

    Scanned pages have no text, and none is recognised in them. ``Passage.last`` counts pages.
    """
    pages: list[str] = []
    size = 0
    try:
        with _PDFIUM, path.open("rb") as file, pypdfium2.PdfDocument(file, autoclose=False) as document:
            if len(document) > _MOST_PAGES:
                return Rejected(None, f"has {len(document):,} pages, more than {_MOST_PAGES:,}")
            for number in range(len(document)):
                page = document[number]
                try:
                    textpage = page.get_textpage()
                    pages.append(_tidy(textpage.get_text_range()))
                    textpage.close()
                finally:
                    page.close()
                size += len(pages[-1].encode())
                if size > max_bytes:
                    return Rejected(number + 1, f"longer than max_document_bytes ({max_bytes:,})", "", size)
    except pypdfium2.PdfiumError as error:
        return Rejected(len(pages) + 1 if pages else None, f"the PDF file is damaged or locked: {error}")
    return Passage(1, len(pages), "\n\n".join(page for page in pages if page), whole=True)


def _tidy(text: str) -> str:
    """PDFium marks a hyphen at a line's end by U+0002 or U+FFFE: what it parted is joined."""
    for mark in ("\x02\r\n", "\ufffe\r\n", "\x02", "\ufffe"):
        text = text.replace(mark, "")
    return newlines(without_surrogates(text)).strip()
