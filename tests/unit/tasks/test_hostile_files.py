"""Damaged and hostile files of every format: nothing crashes, nothing is lost silently, the rest is read."""

import gzip
import hashlib
import json
import os
import random
import socket
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tasks.text.digests import DigestMemory
from tasks.text.documents import EMPTY, QUARANTINED, Draft, Limits
from tasks.text.file_documents import file_documents
from tasks.text.folders import Found, Unreadable, files_of
from tasks.text.formats import format_of
from tasks.text.items import Item
from tasks.text.sources import Source
from tests.unit.tasks.specimens import PARAGRAPHS, every_format, one_by_one, page, warc_record

LIMITS = Limits(document_chars=400, max_document_bytes=20_000, min_docstring_chars=0)
SOURCE = Source(kind="files", path="-")


def read(path: Path, limits: Limits = LIMITS) -> list[Draft]:
    kind = format_of(path)
    assert kind is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    item = Item(path.as_uri(), path.stat().st_size, digest, path.as_uri(), None, kind, 0, None)
    drafts = [draft for found in file_documents(item, SOURCE, limits) for draft in one_by_one(found)]
    for draft in drafts:  # each can be written down
        assert len(draft.doc_id) == 32 and draft.text.encode() is not None
        assert (draft.rejected is not None) == (draft.reason == QUARANTINED)
        json.dumps([draft.source, draft.license, draft.language, draft.place, draft.date]).encode()
    return drafts


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The same bytes with something wrong: cut, flipped, doubled, zeroed or stuffed with what readers trip over."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place, size = chance.randrange(len(data) + 1), chance.randint(1, 40)
        kind = chance.randrange(6)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            del data[place : place + size]
        elif kind == 2:
            data[place:place] = data[place : place + size]
        elif kind == 3:
            data[place:place] = chance.choice(NASTY)
        elif kind == 4:
            data[place : place + size] = bytes(len(data[place : place + size]))
        elif data:
            data[min(place, len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(data)


NASTY = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n\n", b"{", b"[" * 2000, b'"\\ud800"', b"\xed\xa0\x80", b"<!--",
    b"<a" * 50, b"\xe2\x80\xae", b"\xe2\x80\x8b", b"%PDF-1.7", b"WARC/1.0\r\n", b"Content-Length: 999999999999\r\n",
    b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\x00",
    b"PAR1", b"1e999", b"9" * 5000, b'{"text": null}\n', b'{"messages": [{"role": 1}]}\n', b'{"text": "x", "id": {}}\n',
)  # fmt: skip


@pytest.mark.parametrize("name", every_format())
def test_damage_anywhere_is_survived_and_told(tmp_path: Path, name: str) -> None:
    chance, data = random.Random(name), every_format()[name]
    path = tmp_path / name
    drafts = 0
    for _ in range(200):
        path.write_bytes(damaged(data, chance))
        drafts += len(read(path))
    assert drafts > 20


@pytest.mark.parametrize(
    "name", ["b.jsonl.gz", "c.jsonl.zst", "i.txt.gz", "k.warc", "l.warc.gz", "m.wet.gz", "n.pdf", "d.parquet"]
)
def test_wherever_a_file_is_cut_what_is_missing_is_told(tmp_path: Path, name: str) -> None:
    """A cut between two records of a web archive leaves a sound, shorter file: that alone cannot be told."""
    data = every_format()[name]
    path = tmp_path / name
    path.write_bytes(data)
    whole = [draft.text for draft in read(path)]
    sound = 0
    for end in range(1, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:end])
        drafts = read(path)
        texts = [draft.text for draft in drafts if draft.reason is None]
        assert texts == whole[: len(texts)]
        told = any(draft.reason == QUARANTINED for draft in drafts)
        sound += not told and len(texts) < len(whole)
    assert sound <= (6 if name in ("k.warc", "l.warc.gz") else 0)


def test_a_web_archive_in_one_member_is_whole_and_a_cut_one_is_told_of_once(tmp_path: Path) -> None:
    records = [warc_record(f"https://example.org/{number}", page(text)) for number, text in enumerate(PARAGRAPHS)]
    path = tmp_path / "a.warc.gz"
    one = gzip.compress(b"".join(records))
    path.write_bytes(one)
    assert [draft.place for draft in read(path)] == ["offset=0"] + [None] * 5
    assert all(draft.reason is None for draft in read(path))
    for cut in (one[:-5], one[:-100]):
        path.write_bytes(cut)
        assert sum(draft.reason == QUARANTINED for draft in read(path)) == 1
    pair = gzip.compress(b"".join(records[:2]))
    path.write_bytes(pair + gzip.compress(records[2]))
    assert [draft.place for draft in read(path)] == ["offset=0", None, f"offset={len(pair)}"]
    frame = zstandard.ZstdCompressor().compress(records[0])
    (tmp_path / "b.warc.zst").write_bytes(frame + zstandard.ZstdCompressor().compress(b"".join(records[1:3])))
    assert [draft.place for draft in read(tmp_path / "b.warc.zst")] == ["offset=0", f"offset={len(frame)}", None]


def test_null_is_an_empty_text_and_a_binary_column_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": ""}\n{"text": "one"}\n{"b": 1}\n')
    pq.write_table(pa.table({"text": pa.array([None, "", "one"], pa.string())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.array([b"one"], pa.binary())}), tmp_path / "b.parquet")
    assert [draft.reason for draft in read(tmp_path / "a.jsonl")] == [EMPTY, EMPTY, None, QUARANTINED]
    assert [draft.reason for draft in read(tmp_path / "a.parquet")] == [EMPTY, EMPTY, None]
    [draft] = read(tmp_path / "b.parquet")
    assert draft.rejected is not None and "has to be text (string), not binary" in draft.rejected.reason
    assert "set text_field" not in draft.rejected.reason


def test_a_charset_that_does_not_exist_is_judged_by_content(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(
        warc_record("https://example.org", "<p>Grüße aus Köln</p>".encode(), content_type="text/html; charset=klingon")
    )
    assert [draft.text for draft in read(path)] == ["Grüße aus Köln"]


@pytest.mark.parametrize(
    ("charset", "coding", "body", "expected"),
    [
        ("utf-7", "", b"<p>+2AA- Hello</p>", "+2AA- Hello"), ("undefined", "", b"<p>Hello</p>", "Hello"),
        ("unicode_escape", "", b"<p>\\ud800 Hello</p>", "\\ud800 Hello"), ("hex", "", b"<p>zz</p>", "zz"),
        ("utf-8", "zstd", zstandard.ZstdCompressor().compress(b"<p>Hello</p>"), "Hello"),
        ("utf-8", "identity", b"<p>Hello</p>", "Hello"),
        ("utf-8", "zstd", b"no zstd", None), ("utf-8", "x-own", b"\x01\x02", None), ("utf-8", "br", b"\xff\xff", None),
    ],
)  # fmt: skip
def test_one_page_costs_no_other(tmp_path: Path, charset: str, coding: str, body: bytes, expected: str | None) -> None:
    stated = f"Content-Encoding: {coding}\r\n" if coding else ""
    odd = warc_record("https://e.org/a", body, content_type=f"text/html; charset={charset}", headers=stated)
    after = warc_record("https://e.org/b", b"<p>After it</p>")
    (tmp_path / "a.warc").write_bytes(odd + after)
    first, second = read(tmp_path / "a.warc")
    assert (first.text or None) == expected and second.text == "After it"
    assert (first.rejected is None) == (expected is not None)


def test_a_line_or_payload_far_above_the_bound_is_put_aside_without_being_held(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a" * 50_000_000)
    (tmp_path / "a.txt.gz").write_bytes(bomb)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"a" * 50_000_000 + b'"}\n{"text": "after"}\n'))
    bombed = warc_record("https://example.org/bomb", bomb, headers="Content-Encoding: gzip\r\n")
    after = warc_record("https://example.org/after", b"<p>After it</p>")
    (tmp_path / "c.warc.gz").write_bytes(gzip.compress(bombed) + gzip.compress(after))
    big = warc_record("https://example.org/big", b"a" * 50_000_000)
    (tmp_path / "d.warc.gz").write_bytes(gzip.compress(big) + gzip.compress(after))
    tracemalloc.start()
    found = {
        name: read(tmp_path / name, Limits(400, 1_000_000, 0))
        for name in ("a.txt.gz", "b.jsonl.gz", "c.warc.gz", "d.warc.gz")
    }
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for name, drafts in found.items():
        assert drafts[0].rejected is not None and "max_document_bytes (1,000,000)" in drafts[0].rejected.reason
        assert [draft.text for draft in drafts[1:]] == {"a": [], "b": ["after"]}.get(name[0], ["After it"])
    assert peak < 20_000_000


def test_what_is_no_file_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "fine.txt").write_text("fine")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "one.txt").symlink_to(folder / "two.txt")
    (folder / "two.txt").symlink_to(folder / "one.txt")
    (folder / "gone.txt").symlink_to(folder / "nothing.txt")
    (folder / "same.txt").symlink_to(folder / "deep" / "fine.txt")
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.txt"))
        unreadable: Unreadable = []
        found = files_of(folder, unreadable)
    assert found == Found([folder / "deep" / "fine.txt"])
    reasons = {uri.rpartition("/")[2]: reason for uri, reason in unreadable}
    assert reasons == {
        "up": "a symbolic link to a folder is not followed", "pipe.txt": "a FIFO, not a file",
        "s.txt": "a socket, not a file", "gone.txt": "a symbolic link that leads nowhere: No such file or directory",
        "one.txt": "a symbolic link that leads nowhere: Too many levels of symbolic links",
        "two.txt": "a symbolic link that leads nowhere: Too many levels of symbolic links",
    }  # fmt: skip


def test_the_name_of_a_link_says_how_its_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (tmp_path / "blobs" / "3f2a9c8b").write_text('{"text": "of the blob"}\n')
    (folder / "train.jsonl").symlink_to("../blobs/3f2a9c8b")
    (folder / "b.txt").write_text('{"text": "as it is"}')
    (folder / "a.jsonl").symlink_to("b.txt")
    (folder / "unnamed").write_text("of no format")
    (folder / ".hidden.txt").write_text("hidden")
    found = files_of(folder, [])
    names = ("a.jsonl", "b.txt", "train.jsonl")
    assert found == Found([folder / name for name in names], [folder / "unnamed"], 1)
    assert [draft.text for path in found.files for draft in read(path)] == [
        "as it is", '{"text": "as it is"}', "of the blob",
    ]  # fmt: skip


def test_a_device_named_itself_is_not_opened() -> None:
    unreadable: Unreadable = []
    assert files_of(Path("/dev/zero"), unreadable) == Found()
    assert unreadable == [("file:///dev/zero", "a device, not a file")]


def test_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    try:
        path.write_text("content")
    except OSError:
        pytest.skip("this filesystem takes no such name")
    with DigestMemory(tmp_path / "memory.sqlite") as memory:
        assert memory.digest(path)[0] == 7
    assert [draft.source for draft in read(path)] == [path.as_uri()]
    assert path.as_uri().endswith("caf%E9.txt")
