"""Web archives (WARC, ISO 28500): pages as text, each with its address, its date and its place in the file.

Of HTTP responses and resources the main text is taken where they are HTML, and the text as it is where they are plain
text; of conversion records (WET files) their text. Requests, revisits and what only describes are passed over. A
payload is read up to a bound, whatever it decompresses to.
"""

import codecs
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from fastwarc.stream_io import BrotliReader, ChunkedReader
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from tasks.text.decoding import decode
from tasks.text.html import declared
from tasks.text.markup import strip_html
from tasks.text.readers import Rejected, excerpt_of, newlines

NOT_A_PAGE = "not_a_page"  # an image, a script, a redirect, an error page
_CHUNK = 1 << 18
_HEAD = 1 << 14  # bytes that a record's headers are looked for in
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # what a compressed member begins with
_HTML = ("text/html", "application/xhtml+xml")
_NO_CHARSETS = frozenset({"utf-7", "idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs"})
_WANTED = (WarcRecordType.response, WarcRecordType.resource, WarcRecordType.conversion)


@dataclass(frozen=True)
class Page:
    """A record of a web archive. ``reason``: why it gives no document. ``offset``: bytes into the file; None inside a
    compressed member that holds several records, which has to be read from its beginning."""

    uri: str
    offset: int | None
    text: str
    size: int
    date: str | None = None
    digest: str | None = None
    language: str | None = None
    license: str | None = None
    reason: str | None = None


class _Damaged(ValueError):
    """A payload that cannot be read to its end."""


def read_pages(path: Path, max_bytes: int) -> Iterator[Page | Rejected]:
    """The pages of a .warc or .wet file, plain or compressed; a payload above ``max_bytes`` is rejected."""
    number, last = 0, None
    try:
        with path.open("rb") as file:
            for record in ArchiveIterator(str(path), fsspec_args=False):
                number += 1
                if not (record.headers.get("Content-Length") or "").isdigit():  # which each record has to say
                    yield Rejected(number, f"the web archive is cut short or damaged after record {number - 1}")
                    return
                last = record.stream_pos, record.record_id
                if record.record_type not in _WANTED:
                    continue
                raw = record.reader.read(max_bytes + 1)
                if len(raw) < min(record.content_length, max_bytes + 1):  # so this is the end of the file
                    yield _cut(record, raw, number)
                    return
                yield _page(record, raw, number, _offset(file, *last), max_bytes)
            if last is None:
                yield Rejected(None, "no record of a web archive is in it")
            elif path.suffix.lower() == ".gz" and _is_cut(file, _offset(file, *last) or 0):
                yield Rejected(number + 1, f"the web archive is cut short after record {number}")
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except BaseException as error:
        if isinstance(error, OSError | ValueError | zlib.error) or type(error).__name__ == "PanicException":
            yield Rejected(number + 1, f"the web archive is damaged after record {number}: {error}")
        else:
            raise


def _offset(file: BinaryIO, position: int, record_id: str | None) -> int | None:
    """``position`` if the record begins there. FastWARC gives how much of the file was read before it, which is more
    than that inside a compressed member."""
    head = os.pread(file.fileno(), _HEAD, position)
    try:
        if head.startswith(_GZIP):
            head = zlib.decompressobj(31).decompress(head, _HEAD)
        elif head.startswith(_ZSTD):
            head = zstandard.ZstdDecompressor().stream_reader(BytesIO(head)).read(_HEAD)
    except (zlib.error, zstandard.ZstdError):
        return None
    begins = head.startswith(b"WARC/") and (record_id or "").encode() in head.partition(b"\r\n\r\n")[0]
    return position if begins else None


def _is_cut(file: BinaryIO, offset: int) -> bool:
    """Whether the last member of a .gz lacks its end, looked at from a member's ``offset`` on. (FastWARC takes it for
    the end.)"""
    member = zlib.decompressobj(31)
    file.seek(offset)
    data = file.read(_CHUNK)
    while data:
        member.decompress(data, _CHUNK)
        data = member.unconsumed_tail or member.unused_data or file.read(_CHUNK)
        if member.eof and data:
            member = zlib.decompressobj(31)
    return not member.eof


def _cut(record: Any, raw: bytes, number: int) -> Rejected:
    address, size = record.headers.get("WARC-Target-URI") or "", record.content_length
    reason = f"record {address} should hold {size:,} bytes, but the file ends after {len(raw):,}"
    return Rejected(number, reason, excerpt_of(raw), len(raw))


def _page(record: Any, raw: bytes, number: int, offset: int | None, max_bytes: int) -> Page | Rejected:
    """raw: its payload, or more than ``max_bytes`` of it."""
    address = record.headers.get("WARC-Target-URI") or ""
    if len(raw) > max_bytes:
        return _above(number, address, max_bytes, record.content_length)
    media_type, charset, status = _described(record)
    page = Page(
        address, offset, "", len(raw), record.headers.get("WARC-Date"),
        record.headers.get("WARC-Payload-Digest") or record.headers.get("WARC-Block-Digest"),
        record.headers.get("WARC-Identified-Content-Language"), reason=NOT_A_PAGE,
    )  # fmt: skip
    if not address or status != 200 or media_type not in (*_HTML, "text/plain"):
        return page
    try:
        body = _decoded(raw, record.http_headers, max_bytes)
        if len(body) > max_bytes:
            return _above(number, address, max_bytes, len(body))
        text = _text(body, media_type, charset)
    except (ValueError, LookupError) as error:  # _Damaged, NotText, or what a codec raises
        return Rejected(number, f"record {address}: {error}", excerpt_of(raw), len(raw))
    language, licence = page.language, None
    if media_type in _HTML:
        language, licence = declared(text)
        text = strip_html(text)
    return Page(address, offset, newlines(text), len(raw), page.date, page.digest, language, licence)


def _above(number: int, address: str, max_bytes: int, size: int) -> Rejected:
    return Rejected(number, f"record {address} is longer than max_document_bytes ({max_bytes:,})", "", size)


def _described(record: Any) -> tuple[str, str | None, int]:
    """Media type, charset and HTTP status; a record that is no HTTP response counts as answered with 200."""
    if record.http_headers is not None:
        return (record.http_content_type or "").lower(), record.http_charset, record.http_headers.status_code or 0
    media_type, _, rest = (record.headers.get("Content-Type") or "").lower().partition(";")
    charset = rest.partition("charset=")[2].strip(" \"'") or None
    return media_type.strip(), charset, 200


def _decoded(raw: bytes, headers: Any, max_bytes: int) -> bytes:
    """A payload without the codings that HTTP put around it, at most ``max_bytes`` + 1 of it."""
    if headers is None:
        return raw
    try:
        if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
            raw = ChunkedReader(BytesIO(raw)).read(max_bytes + 1)
        for coding in reversed((headers.get("Content-Encoding") or "").lower().replace(" ", "").split(",")):
            if coding in ("gzip", "x-gzip", "deflate"):
                raw = _inflated(raw, coding, max_bytes)
            elif coding == "br":
                raw = BrotliReader(BytesIO(raw)).read(max_bytes + 1)
            elif coding == "zstd":
                raw = zstandard.ZstdDecompressor().stream_reader(BytesIO(raw)).read(max_bytes + 1)
            elif coding not in ("", "identity"):
                raise _Damaged(f"its Content-Encoding {coding[:40]!r} is not read")
    except (OSError, ValueError, EOFError, zlib.error, zstandard.ZstdError) as error:
        if isinstance(error, _Damaged):
            raise
        raise _Damaged(f"its payload is damaged: {error}") from error
    return raw


def _inflated(raw: bytes, coding: str, max_bytes: int) -> bytes:
    plain_deflate = -15 if raw[:1] != b"\x78" else 15  # servers send it with and without zlib's header
    stream = zlib.decompressobj(plain_deflate if coding == "deflate" else 31)
    data = stream.decompress(raw, max_bytes + 1)
    if not stream.eof and len(data) <= max_bytes:
        raise _Damaged("its payload is cut short")
    return data


def _text(body: bytes, media_type: str, charset: str | None) -> str:
    """A payload as text, by the charset that it states, if there is such a one, else by its content."""
    if charset and (known := _known(charset)):
        return bytes_to_str(body, known)
    if media_type in _HTML:
        return bytes_to_str(body, detect_encoding(body, from_html_meta=True) or "utf-8")
    return decode(body)


def _known(charset: str) -> str | None:
    """A charset as Python's codec, if it is one of text; of UTF-7 and the like no browser takes notice."""
    try:
        name = codecs.lookup(charset).name
        "a".encode(name)
    except (LookupError, ValueError, TypeError):
        return None
    return None if name in _NO_CHARSETS else name
