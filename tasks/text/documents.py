"""Documents of a snapshot's items, part by part, each with its source, origin and licence.

Everything an item holds becomes a ``Draft``: a document, or the reason why there is none.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email import message_from_string
from typing import Any
from urllib.parse import quote

from tasks.text.decoding import NotText, decode, without_surrogates
from tasks.text.docstrings import render
from tasks.text.documented import ParsedFile, documented, module_of
from tasks.text.huggingface import read_dataset
from tasks.text.items import Item, Part, read_item, unchanged_path
from tasks.text.readers import Passage, Rejected, Row, read_passages, read_rows, read_whole
from tasks.text.sources import Source

QUARANTINED = "quarantined"
EMPTY = "empty"
TRIVIAL = "trivial_docstring"
_README_KINDS = {"text/markdown": "markdown", "text/plain": "text"}  # PyPI takes the rest for reStructuredText


@dataclass(frozen=True)
class Limits:
    """What bounds a document."""

    document_chars: int
    max_document_bytes: int
    min_docstring_chars: int


@dataclass(frozen=True)
class Draft:
    """A document, or if ``reason`` is given, what stands in the ledger in its place."""

    text: str
    source: str
    origin: str
    license: str | None
    kind: str
    split: str | None
    reason: str | None = None
    size: int = 0
    rejected: Rejected | None = None

    @property
    def doc_id(self) -> str:
        """32 hex digits of sha256(source URI \\0 content); of a reject, its line and its beginning are the content."""
        content = self.text
        if self.rejected is not None:
            content = f"{self.rejected.line}\0{self.rejected.excerpt}"
        return hashlib.sha256(f"{self.source}\0{content}".encode()).hexdigest()[:32]


def documents_of(part: Part, limits: Limits) -> Iterator[Draft]:
    """Everything that a part's items hold, in order. Raises DataError if an item has changed since the snapshot."""
    modules = [item for item in part.items if item.kind == "docstring"]
    parsed = dict(zip((item.uri for item in modules), documented(modules), strict=True)) if modules else {}
    for item in part.items:
        blank = Draft("", item.uri, item.origin, item.license, item.kind, item.split)
        if item.kind == "docstring":
            yield from _docstrings(item, parsed[item.uri], blank, limits)
            continue
        for draft in _texts(item, part.source, blank, limits):
            yield replace(draft, reason=EMPTY) if draft.reason is None and not draft.text.strip() else draft


def rejected_draft(blank: Draft, rejected: Rejected) -> Draft:
    """What the ledger holds in place of something that could not be read."""
    return replace(blank, text="", reason=QUARANTINED, rejected=rejected, size=rejected.size)


def _docstrings(item: Item, parsed: ParsedFile, blank: Draft, limits: Limits) -> Iterator[Draft]:
    if parsed.failure is not None:
        yield rejected_draft(blank, Rejected(None, parsed.failure, size=item.size))
    module = module_of(item)
    for found in parsed.objects:
        source = f"{item.uri}#{quote(found.qualname)}" if found.qualname else item.uri
        reason = TRIVIAL if len(found.docstring) < limits.min_docstring_chars else None
        yield replace(blank, text=render(found, module), source=source, reason=reason)


def _texts(item: Item, source: Source, blank: Draft, limits: Limits) -> Iterator[Draft]:
    if item.kind in ("jsonl", "parquet", "dataset"):
        for row in rows_of(item, source, limits.max_document_bytes):
            yield _row_draft(row, source, blank)
    elif item.path is None and item.uri.startswith("pypi://"):
        yield _package_text(item, blank, limits)
    else:
        path = unchanged_path(item)
        passages: Iterator[Passage | Rejected]
        if item.kind == "text":
            passages = read_passages(path, limits.document_chars, limits.max_document_bytes)
        else:
            passages = iter([read_whole(path, limits.max_document_bytes)])
        kind = source.text_kind or item.kind
        for passage in passages:
            if isinstance(passage, Rejected):
                yield rejected_draft(blank, passage)
                continue
            # RFC 5147: line=m,n is the text between line ends m and n
            place = item.uri if passage.whole else f"{item.uri}#line={passage.first - 1},{passage.last}"
            yield replace(blank, text=passage.text, source=place, kind=kind)


def rows_of(item: Item, source: Source, max_bytes: int, every_column: bool = False) -> Iterator[Row | Rejected]:
    """Rows of a table-like item. Of a Parquet file only the columns for text documents, unless ``every_column``."""
    if item.kind == "dataset":
        return read_dataset(item)
    columns = [name for name in (source.text_field, source.origin_field, "id") if name]
    file_format: Any = item.kind
    return read_rows(unchanged_path(item), file_format, max_bytes, None if every_column else columns)


def _row_draft(row: Row | Rejected, source: Source, blank: Draft) -> Draft:
    kind = source.text_kind or "text"
    if isinstance(row, Rejected):
        return rejected_draft(replace(blank, kind=kind), row)
    text = row.fields.get(source.text_field)
    if not isinstance(text, str):
        names = ", ".join(sorted(map(str, row.fields))[:8])
        has = "has no field" if source.text_field not in row.fields else f"has a {type(text).__name__} as field"
        reason = f"{has} {source.text_field!r} (its fields: {names}); set text_field to the one that holds text"
        return rejected_draft(replace(blank, kind=kind), Rejected(row.line, reason, str(row.fields)[:80], row.size))
    identifier = row.fields.get("id")
    has_id = isinstance(identifier, str | int) and str(identifier)
    place = f"{blank.source}#{quote(without_surrogates(str(identifier)))}" if has_id else blank.source
    return replace(
        blank, text=without_surrogates(text), source=place, origin=origin_of(row, source, blank.origin), kind=kind
    )


def origin_of(row: Row, source: Source, otherwise: str) -> str:
    """Where a row came from: its origin field if the source names one, else its file."""
    named = row.fields.get(source.origin_field) if source.origin_field else None
    return otherwise if named is None or named == "" else without_surrogates(str(named))


def _package_text(item: Item, blank: Draft, limits: Limits) -> Draft:
    data = read_item(item)
    if len(data) > limits.max_document_bytes:
        reason = f"longer than max_document_bytes ({limits.max_document_bytes:,})"
        return rejected_draft(blank, Rejected(None, reason, size=len(data)))
    try:
        text = decode(data).replace("\r\n", "\n").replace("\r", "\n")
    except NotText as error:
        return rejected_draft(blank, Rejected(None, str(error), size=len(data)))
    if item.kind != "metadata":
        return replace(blank, text=text)
    message = message_from_string(text)
    content_type = str(message.get("Description-Content-Type", "")).split(";")[0].strip().lower()
    body = message.get_payload() or str(message.get("Description", ""))
    return replace(blank, text=str(body), kind=_README_KINDS.get(content_type, "rst"))
