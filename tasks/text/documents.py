"""What everything that is read becomes: a ``Draft``, which is a document, or the reason why there is none."""

import hashlib
from dataclasses import dataclass, replace

from tasks.text.decoding import without_surrogates
from tasks.text.readers import Rejected

QUARANTINED = "quarantined"
EMPTY = "empty"
TRIVIAL = "trivial_docstring"
TEX = "tex_source"


@dataclass(frozen=True)
class Limits:
    """What bounds a document."""

    document_chars: int
    max_document_bytes: int
    min_docstring_chars: int


@dataclass(slots=True)
class Draft:
    """A document, or if ``reason`` is given, what stands in the ledger in its place.

    place: where in its file it lies, as a URI's fragment says it (``line=3,9``, ``row=7``, ``offset=1024``).
    date, digest: when and as what the collector of a web archive fetched it.
    """

    text: str
    source: str
    origin: str
    license: str | None
    kind: str
    split: str | None
    reason: str | None = None
    size: int = 0
    rejected: Rejected | None = None
    language: str | None = None
    place: str | None = None
    date: str | None = None
    digest: str | None = None

    @property
    def doc_id(self) -> str:
        """32 hex digits of sha256(source URI \\0 content); of a reject, its line and its beginning are the content."""
        content = self.text
        if self.rejected is not None:
            content = f"{self.rejected.line}\0{self.rejected.excerpt}"
        return hashlib.sha256(f"{self.source}\0{content}".encode()).hexdigest()[:32]


def rejected_draft(blank: Draft, rejected: Rejected) -> Draft:
    """What the ledger holds in place of something that could not be read."""
    clean = replace(rejected, reason=without_surrogates(rejected.reason), excerpt=without_surrogates(rejected.excerpt))
    return replace(blank, text="", reason=QUARANTINED, rejected=clean, size=rejected.size)
