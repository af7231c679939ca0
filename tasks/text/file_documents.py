"""Documents of users' files and data sets, each with its address, licence, language and place.

A licence that the user states for a source counts before one that a document declares of itself (an SPDX header, a
page's licence link, a row's field ``license``), and that before the licence file of the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa

from tasks.text import licences
from tasks.text.conversations import FIELDS as CONVERSATIONS
from tasks.text.conversations import conversation_of
from tasks.text.decoding import without_surrogates
from tasks.text.documents import EMPTY, Draft, GatheredRows, Limits, PlainRows, place_of, rejected_draft, unfit
from tasks.text.formats import TABLES, language_of
from tasks.text.html import declared
from tasks.text.huggingface import read_dataset
from tasks.text.items import Item, on_disk
from tasks.text.passages import read_passages
from tasks.text.pdf import read_pdf
from tasks.text.ranges import LineRange
from tasks.text.readers import Passage, Rejected, Row, read_whole
from tasks.text.rows import PlainLines, one_by_one, read_rows_in_blocks
from tasks.text.sources import Source
from tasks.text.webarchive import Page, read_pages

if TYPE_CHECKING:
    from tasks.text.json_columns import ColumnReader

_LANGUAGES, _DATES = ("language", "lang"), ("date", "timestamp", "created")
_SAYING = frozenset({"id", "license", *_LANGUAGES, *_DATES})
_MOST_CHARS = 100  # of a licence, language or date that a row states


def file_documents(
    item: Item, source: Source, limits: Limits, only: LineRange | None = None, compiled: bool = False
) -> Iterator[Draft | PlainRows]:
    """Everything that an item holds, or that some of its lines hold, in order. compiled: plain lines are read by
    machine code (kernels.py).

    Raises ItemChanged, also after the last, if it is not what the snapshot saw; OSError if it cannot be read.
    """
    blank = Draft("", item.uri, item.origin, item.license, source.text_kind or item.kind, item.split)
    if item.kind in TABLES or item.kind == "dataset":
        blank.kind = source.text_kind or "text"
        named = (source.text_field, source.origin_field, "id", "license", *_LANGUAGES, *_DATES, *CONVERSATIONS)
        columns = [name for name in named if name]
        reader = _reader(source) if compiled and item.kind == "jsonl" else None
        blocks = _blocks_of(item, limits.max_document_bytes, columns, only, reader)
        drafts = _of_rows(blocks, item, source, blank, compiled)
    else:
        drafts = _drafts(item, blank, limits) if item.kind != "warc" else _of_pages(item, source, blank, limits)
    nothing = only is None  # of a range, another may hold something
    for draft in drafts:
        nothing = False
        if isinstance(draft, Draft) and draft.reason is None:
            draft.reason = unfit(draft.text, draft.kind)
            if source.license is not None:
                draft.license = source.license
        yield draft
    if nothing:
        yield replace(blank, reason=EMPTY)


def rows_of(item: Item, max_bytes: int) -> Iterator[Row | Rejected]:
    """Rows of a table-like item, with all that they hold."""
    return one_by_one(_blocks_of(item, max_bytes))


def _blocks_of(
    item: Item,
    max_bytes: int,
    columns: list[str] | None = None,
    only: LineRange | None = None,
    reader: ColumnReader | None = None,
) -> Iterator[Row | Rejected | PlainLines]:
    if item.kind == "dataset":
        yield from read_dataset(item, max_bytes)
        return
    file_format: Any = item.kind
    known, look = (only.state, only.looks) if only else (None, True)
    with on_disk(item, known, look) as path:
        yield from read_rows_in_blocks(path, file_format, max_bytes, columns, only, reader)


def _reader(source: Source) -> ColumnReader:
    """Of lines that say nothing of themselves but their origin."""
    from tasks.text.json_columns import ColumnReader  # see minhash.py

    return ColumnReader(source.text_field, source.origin_field, _SAYING)


def origin_of(fields: dict[str, Any], source: Source, otherwise: str) -> str:
    """Where a row came from: its origin field if the source names one, else its file."""
    named = fields.get(source.origin_field) if source.origin_field else None
    return otherwise if named is None or named == "" else without_surrogates(str(named))


def _of_rows(
    blocks: Iterator[Row | Rejected | PlainLines], item: Item, source: Source, blank: Draft, compiled: bool
) -> Iterator[Draft | PlainRows]:
    counted_in = "line" if item.kind == "jsonl" else "row"
    told = replace(blank, license=blank.license if source.license is None else source.license)
    plain = GatheredRows(told, counted_in, compiled)
    for block in blocks:
        if isinstance(block, PlainLines) and (found := _columns_of(block, source, blank.origin)):
            plain.add_columns(block.first, *found)
            if plain.is_full:
                yield plain.take()
            continue
        for row in one_by_one([block]):
            draft = None
            if isinstance(row, Rejected):
                draft = rejected_draft(blank, row)
            elif (
                row.encoding is None
                and _SAYING.isdisjoint(row.fields)
                and isinstance(text := row.fields.get(source.text_field), str)
            ):
                plain.add(row.line, without_surrogates(text), origin_of(row.fields, source, blank.origin))
            else:
                draft = _of_row(row, source, blank, counted_in)
            if len(plain) and (draft is not None or plain.is_full):
                yield plain.take()
            if draft is not None:
                yield draft
    if len(plain):
        yield plain.take()


def _columns_of(lines: PlainLines, source: Source, otherwise: str) -> tuple[pa.Array, pa.Array] | None:
    """The texts and origins of plain lines, unless one of them has no text or says something of itself."""
    if lines.columns is not None:
        texts, origins = lines.columns.texts, lines.columns.origins
        return texts, pa.repeat(pa.scalar(otherwise, pa.string()), len(texts)) if origins is None else origins
    objects = lines.objects
    if not _SAYING.isdisjoint(chain.from_iterable(objects)):
        return None
    name = source.text_field
    found: list[Any] = [fields.get(name) for fields in objects]
    if {*map(type, found)} != {str}:
        return None
    named = [origin_of(fields, source, otherwise) for fields in objects]
    return pa.array(found, pa.large_string()), pa.array(named, pa.string())


def _of_pages(item: Item, source: Source, blank: Draft, limits: Limits) -> Iterator[Draft]:
    blank.kind = source.text_kind or "text"
    with on_disk(item) as path:
        for page in read_pages(path, limits.max_document_bytes):
            yield rejected_draft(blank, page) if isinstance(page, Rejected) else _of_page(page, blank)


def _drafts(item: Item, blank: Draft, limits: Limits) -> Iterator[Draft]:
    with on_disk(item) as path:
        for passage in passages_of(item, path, limits):
            yield rejected_draft(blank, passage) if isinstance(passage, Rejected) else _of_passage(item, passage, blank)


def passages_of(item: Item, path: Path, limits: Limits) -> Iterator[Passage | Rejected]:
    """The text of an item that is no table, or the passages it is cut into."""
    if item.kind == "text":
        yield from read_passages(path, limits.document_chars, limits.max_document_bytes)
    elif item.kind == "pdf":
        yield read_pdf(path, limits.max_document_bytes)
    else:
        yield read_whole(path, limits.max_document_bytes, is_html=item.kind == "html")


def _of_passage(item: Item, passage: Passage, blank: Draft) -> Draft:
    draft = replace(blank, text=passage.text, encoding=passage.encoding)
    if not passage.whole:  # RFC 5147: line=m,n is the text between line ends m and n
        draft.place = f"line={passage.first - 1},{passage.last}"
        draft.source = f"{item.uri}#{draft.place}"
    elif item.kind == "html":
        draft.language, licence = declared(passage.text)
        draft.license = licence or blank.license
    elif item.kind == "pdf":
        draft.kind = "text" if blank.kind == "pdf" else blank.kind
    elif item.kind != "text":
        draft.language = language_of(PurePosixPath(unquote(urlsplit(item.uri).path)))
        draft.license = licences.from_header(passage.text) or blank.license
    return draft


def _of_page(page: Page, blank: Draft) -> Draft:
    return replace(
        blank, text=page.text, source=without_surrogates(page.uri) or blank.source, reason=page.reason, size=page.size,
        license=page.license or blank.license, language=page.language, date=page.date, digest=page.digest,
        place=None if page.offset is None else f"offset={page.offset}",
    )  # fmt: skip


def _of_row(row: Row, source: Source, blank: Draft, counted_in: str) -> Draft:
    fields = row.fields
    text = fields.get(source.text_field)
    if text is None:
        text = conversation_of(fields)
        if text is None and source.text_field in fields:  # null, which says that there is no text
            text = ""
    if not isinstance(text, str):
        return rejected_draft(blank, Rejected(row.line, _no_text(fields, source), str(fields)[:80], row.size))
    draft = Draft(
        without_surrogates(text), blank.source, origin_of(fields, source, blank.origin), blank.license, blank.kind,
        blank.split, place=place_of(counted_in, row.line), encoding=row.encoding,
    )  # fmt: skip
    identifier = fields.get("id")
    if isinstance(identifier, (str, int)) and str(identifier):
        draft.source = f"{blank.source}#{quote(without_surrogates(str(identifier)))}"
    draft.license = _stated(fields, "license") or blank.license
    draft.language, draft.date = _stated(fields, *_LANGUAGES), _stated(fields, *_DATES)
    return draft


def _stated(fields: dict[str, Any], *names: str) -> str | None:
    """What a row says of itself in one of these fields, if it is a short text."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and 0 < len(value) <= _MOST_CHARS:
            return without_surrogates(value)
    return None


def _no_text(fields: dict[str, Any], source: Source) -> str:
    if isinstance(fields.get(source.text_field), bytes):
        return f"has binary data as field {source.text_field!r}; the column has to be text (string), not binary"
    names = ", ".join(sorted(map(str, fields))[:8])
    kind = type(fields.get(source.text_field)).__name__
    has = "has no field" if source.text_field not in fields else f"has a {kind} as field"
    return f"{has} {source.text_field!r} (its fields: {names}); set text_field to the one that holds text"
