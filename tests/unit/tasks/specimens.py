"""A small sound file of every format that is read, as bytes, for tests that read, cut and damage them."""

import gzip
import io
import json
import random
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tasks.text.documents import Draft, PlainRows

ARTICLE = "The river rises in the northern hills, and it flows south through the old town to the sea. " * 6
PARAGRAPHS = [f"Chapter {number}. {ARTICLE}" for number in range(6)]


def warc_record(
    uri: str, body: bytes, kind: str = "response", content_type: str = "text/html; charset=utf-8", headers: str = "",
    status: str = "200 OK", more: str = "",
) -> bytes:  # fmt: skip
    """A record of a web archive; with an HTTP head around its body if it is a response."""
    if kind == "response":
        body = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode() + body
        content_type = "application/http; msgtype=response"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{random.Random(uri).randbytes(16).hex()}>\r\n"
        f"WARC-Date: 2024-01-02T03:04:05Z\r\nWARC-Target-URI: {uri}\r\nWARC-Payload-Digest: sha1:ABC{len(body)}\r\n"
        f"{more}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def page(text: str) -> bytes:
    """An HTML page with navigation around its text."""
    return (
        '<!DOCTYPE html><html lang="en-GB"><head><title>T</title></head><body><nav><a href="/">Home</a></nav>'
        f"<main><h1>Heading</h1><p>{text}</p></main><footer>"
        '<a rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">licence</a></footer></body></html>'
    ).encode()


def pdf(*pages: str) -> bytes:
    """A PDF file with one line of text a page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode()


def parquet(rows: int = 40) -> bytes:
    """A table of texts in several row groups."""
    buffer = io.BytesIO()
    table = pa.table({"text": [f"Row {number}. {ARTICLE[:120]}" for number in range(rows)], "id": list(range(rows))})
    pq.write_table(table, buffer, row_group_size=10)
    return buffer.getvalue()


def every_format() -> dict[str, bytes]:
    """File name → content."""
    rows = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(PARAGRAPHS)).encode()
    turns = [{"role": "user", "content": "Where does it rise?"}, {"role": "assistant", "content": ARTICLE}]
    chat = "".join(json.dumps({"id": number, "messages": turns}) + "\n" for number in range(6)).encode()
    records = [warc_record(f"https://example.org/{number}", page(text)) for number, text in enumerate(PARAGRAPHS)]
    wet = warc_record("https://example.org/wet", ARTICLE.encode(), "conversion", "text/plain")
    return {
        "a.jsonl": rows,
        "b.jsonl.gz": gzip.compress(rows, mtime=0),
        "c.jsonl.zst": zstandard.ZstdCompressor().compress(rows),
        "d.parquet": parquet(),
        "e.txt": "\n\n".join(PARAGRAPHS).encode(),
        "f.md": f"# Title\n\n{ARTICLE}\n".encode(),
        "g.rst": f"Title\n=====\n\n{ARTICLE}\n".encode(),
        "h.html": page(ARTICLE),
        "i.txt.gz": gzip.compress(PARAGRAPHS[1].encode(), mtime=0),
        "j.py": b"# SPDX-License-Identifier: Apache-2.0\n\n\ndef one():\n    return 1\n",
        "k.warc": b"".join(records),
        "l.warc.gz": b"".join(gzip.compress(record, mtime=0) for record in records),
        "m.wet.gz": gzip.compress(wet, mtime=0),
        "n.pdf": pdf("The first page of a paper.", "And the second page."),
        "o.jsonl.gz": gzip.compress(chat, mtime=0),
    }


def one_by_one(found: Draft | PlainRows) -> list[Draft]:
    """The drafts of what a file gives."""
    if isinstance(found, Draft):
        return [found]
    columns = zip(
        found.texts.to_pylist(),
        found.origins.to_pylist(),
        found.places.to_pylist(),
        found.reasons.to_pylist(),
        strict=True,
    )
    return [
        replace(found.blank, text=text, origin=origin, place=place, reason=reason)
        for text, origin, place, reason in columns
    ]
