"""What everything that is read becomes: a ``Draft``, which is a document, or the reason why there is none."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.text.decoding import without_surrogates
from tasks.text.readers import Rejected
from tasks.text.tex import is_tex

QUARANTINED = "quarantined"
EMPTY = "empty"
TRIVIAL = "trivial_docstring"
TEX = "tex_source"
_HELD_CHARS, _HELD_ROWS = 4 << 20, 8192  # of plain rows


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
    encoding: of the bytes it was read from; None for UTF-8, and where that is no matter.
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
    encoding: str | None = None

    @property
    def doc_id(self) -> str:
        """Of a reject, its line and its beginning are the content."""
        content = self.text
        if self.rejected is not None:
            content = f"{self.rejected.line}\0{self.rejected.excerpt}"
        return doc_id_of(self.source, content)


@dataclass(slots=True)
class PlainRows:
    """Rows that hold a text and say nothing of themselves but their origin, as columns, (N,) each: what most rows are.
    Everything else about them stands in ``blank``. place: what a place is counted in, "line" or "row"."""

    blank: Draft
    place: str
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    chars: int = 0  # of the texts

    def add(self, numbers: Iterable[int], texts: list[str], origins: list[str]) -> None:
        """Append rows."""
        self.numbers += numbers
        self.texts += texts
        self.origins += origins
        self.chars += sum(map(len, texts))

    @property
    def is_full(self) -> bool:
        """Whether they are many enough to be worked on, and too many to hold more."""
        return self.chars > _HELD_CHARS or len(self.texts) >= _HELD_ROWS

    @property
    def doc_ids(self) -> pa.Array:
        """As of drafts."""
        start = f"{self.blank.source}\0".encode()
        digests = b"".join([sha256(start + text.encode()).digest() for text in self.texts])
        halves = np.frombuffer(digests, np.uint8).reshape(-1, 32)[:, :16]
        ends = np.arange(len(halves) + 1, dtype=np.int32) * 32
        return pa.Array.from_buffers(
            pa.string(), len(halves), [None, pa.py_buffer(ends), pa.py_buffer(halves.tobytes().hex().encode())]
        )

    @property
    def places(self) -> pa.Array:
        """As of drafts."""
        numbers = np.array(self.numbers, np.int64)
        named = pa.array(numbers).cast(pa.string())
        if self.place != "line":
            return pc.binary_join_element_wise("row=", named, "")
        before = pa.array(numbers - 1).cast(pa.string())
        return pc.binary_join_element_wise(pc.binary_join_element_wise("line=", before, ""), named, ",")

    @property
    def reasons(self) -> pa.Array:
        """As of drafts."""
        kind, may_be_tex = self.blank.kind, self.blank.kind == "text"
        looked_at = [  # what is neither blank nor has a backslash is fit, which is quickly seen
            unfit(text, kind) if not text or text.isspace() or (may_be_tex and "\\" in text) else None
            for text in self.texts
        ]
        return pa.array(looked_at, pa.string())


def doc_id_of(source: str, content: str) -> str:
    """32 hex digits of sha256(source URI \\0 content)."""
    return sha256(f"{source}\0{content}".encode()).hexdigest()[:32]


def place_of(counted_in: str, number: int) -> str:
    """The place of a line or row, from 1. RFC 5147: line=m,n is the text between line ends m and n."""
    return f"line={number - 1},{number}" if counted_in == "line" else f"row={number}"


def unfit(text: str, kind: str) -> str | None:
    """Why a text is no document, if so."""
    if not text or text.isspace():
        return EMPTY
    return TEX if kind == "text" and is_tex(text) else None


def rejected_draft(blank: Draft, rejected: Rejected) -> Draft:
    """What the ledger holds in place of something that could not be read."""
    clean = replace(rejected, reason=without_surrogates(rejected.reason), excerpt=without_surrogates(rejected.excerpt))
    return replace(blank, text="", reason=QUARANTINED, rejected=clean, size=rejected.size)
