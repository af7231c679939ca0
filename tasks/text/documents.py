"""What everything that is read becomes: a ``Draft``, which is a document, or the reason why there is none."""

from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise

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
_HELD_BYTES, _HELD_ROWS = 4 << 20, 8192  # of plain rows


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


@dataclass(frozen=True)
class PlainRows:
    """Rows that hold a text and say nothing of themselves but their origin, as columns, (N,) each: what most rows are.
    Everything else about them stands in ``blank``. place: what ``numbers`` count, "line" or "row". compiled: work by
    machine code (kernels.py)."""

    blank: Draft
    place: str
    numbers: np.ndarray
    texts: pa.LargeStringArray
    origins: pa.StringArray
    compiled: bool = False

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def _bytes(self) -> tuple[np.ndarray, np.ndarray]:
        """The texts end to end, uint8, and where each begins, (N + 1,) int64."""
        _, offsets, data = self.texts.buffers()
        begin = self.texts.offset
        found = np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64)[begin : begin + len(self) + 1]
        for array in found:
            array.flags.writeable = False  # all alike, or machine code is made for each kind
        return found

    @property
    def num_bytes(self) -> int:
        """Of the texts."""
        _, bounds = self._bytes
        return int(bounds[-1] - bounds[0])

    @property
    def doc_ids(self) -> pa.Array:
        """As of drafts."""
        start = f"{self.blank.source}\0".encode()
        halves = self._halves(start)
        ends = np.arange(len(self) + 1, dtype=np.int32) * 32
        return pa.Array.from_buffers(
            pa.string(), len(self), [None, pa.py_buffer(ends), pa.py_buffer(halves.tobytes().hex().encode())]
        )

    def _halves(self, start: bytes) -> np.ndarray:
        """The first halves of the digests of each text with ``start`` before it, (N, 16) uint8."""
        data, bounds = self._bytes
        if self.compiled and len(data):
            from tasks.text import kernels  # see minhash.py
            from tasks.text.sha256 import halves_of_digests, has_instructions

            if has_instructions():
                found: np.ndarray = kernels.kept(halves_of_digests)(data, bounds, np.frombuffer(start, np.uint8))
                return found
        view = data.data
        digests = b"".join([sha256(start + view[begin:end]).digest() for begin, end in pairwise(bounds.tolist())])
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)[:, :16]

    @property
    def places(self) -> pa.Array:
        """As of drafts."""
        named = pa.array(self.numbers).cast(pa.string())
        if self.place != "line":
            return pc.binary_join_element_wise("row=", named, "")
        before = pa.array(self.numbers - 1).cast(pa.string())
        return pc.binary_join_element_wise("line=", before, ",", named, "")

    @property
    def reasons(self) -> pa.Array:
        """As of drafts."""
        data, bounds = self._bytes
        first = data[np.minimum(bounds[:-1], len(data) - 1)] if len(data) else np.zeros(len(self), np.uint8)
        # What begins with a plain character and has no backslash is fit, which is quickly seen.
        doubtful = (bounds[1:] == bounds[:-1]) | (first <= ord(" ")) | (first >= 0x80)
        if self.blank.kind == "text":
            doubtful |= pc.match_substring(self.texts, "\\").to_numpy(zero_copy_only=False)
        found: list[str | None] = [None] * len(self)
        for row in np.flatnonzero(doubtful).tolist():
            found[row] = unfit(self.texts[row].as_py(), self.blank.kind)
        return pa.array(found, pa.string())


class GatheredRows:
    """Plain rows as they are read, until they are many enough to be worked on."""

    def __init__(self, blank: Draft, place: str, compiled: bool = False) -> None:
        self._blank, self._place, self._compiled = blank, place, compiled
        self._clear()

    def _clear(self) -> None:
        self._columns: list[tuple[np.ndarray, pa.Array, pa.Array]] = []
        self._rows: list[tuple[int, str, str]] = []  # those after them
        self._count = self._size = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether they are too many to hold more."""
        return self._size > _HELD_BYTES or self._count >= _HELD_ROWS

    def add(self, number: int, text: str, origin: str) -> None:
        """Append one."""
        self._rows.append((number, text, origin))
        self._count += 1
        self._size += len(text)

    def add_columns(self, first: int, texts: pa.Array, origins: pa.Array) -> None:
        """Append some that follow one another from the number ``first`` on."""
        self._settle()
        self._columns.append((np.arange(first, first + len(texts)), texts, origins))
        self._count += len(texts)
        self._size += texts.nbytes

    def _settle(self) -> None:
        if self._rows:
            numbers, texts, origins = zip(*self._rows, strict=True)
            columns = pa.array(texts, pa.large_string()), pa.array(origins, pa.string())
            self._columns.append((np.array(numbers, np.int64), *columns))
            self._rows = []

    def take(self) -> PlainRows:
        """All of them, which are no longer here."""
        self._settle()
        numbers, texts, origins = zip(*self._columns, strict=True)
        self._clear()
        return PlainRows(
            self._blank, self._place, np.concatenate(numbers), pa.concat_arrays(texts), pa.concat_arrays(origins),
            self._compiled,
        )  # fmt: skip


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
