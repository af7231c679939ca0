"""A file of lines read in ranges gives what it gives as a whole: documents, rejects, and the places of both."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.collect import CollectConfig, collect
from tasks.lineage.parallel import in_this_process, in_threads
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Artifact, Resources
from tasks.text import drafting, items
from tasks.text.decoding import wide_encoding
from tasks.text.documents import Draft, Limits, PlainRows
from tasks.text.draft_reader import read_drafts
from tasks.text.drafting import Reading, read_items
from tasks.text.drafts import Drafted, DraftTask
from tasks.text.file_documents import file_documents
from tasks.text.items import Item, ItemChanged, Part, path_of
from tasks.text.ranges import LineRange, count_ranges, line_ranges
from tasks.text.sources import Source
from tests.unit.tasks.specimens import one_by_one

LIMITS = Limits(document_chars=400, max_document_bytes=60, min_docstring_chars=0)
SOURCE = Source(kind="files", path="-")
PIECES = (
    b'{"text": "a"}', b'{"text": "half \\ud800"}', b'{"text": "gr\xc3\xbc\xc3\x9fe", "id": 7}', b"\n", b"\n", b"\n\n\n",
    b"\r\n", b"\r", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"not JSON", b" ", b'{"text": "' + b"x" * 200 + b'"}',
    b"[1]", b'{"text": 1}', b"\xed\xa0\x80", b"\xe2\x80\xa8", b'{"text": "cut sho',
)  # fmt: skip


def all_drafts(found: Iterable[Draft | PlainRows]) -> list[Draft]:
    return [draft for one in found for draft in one_by_one(one)]


def item_of(path: Path) -> Item:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Item(path.as_uri(), path.stat().st_size, digest, path.as_uri(), None, "jsonl", 0, None)


def ranges_of(item: Item, count: int) -> list[LineRange] | None:
    [found] = line_ranges([(item, count)], in_this_process)
    return found


def drafts_by_range(item: Item, count: int) -> list[Draft]:
    found = ranges_of(item, count)
    if found is None:
        data = path_of(item).read_bytes()
        assert wide_encoding(data) or not data.strip()
        return all_drafts(file_documents(item, SOURCE, LIMITS))
    assert len(found) == count
    return [draft for lines in found for draft in all_drafts(file_documents(item, SOURCE, LIMITS, lines))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(PIECES), min_size=1, max_size=30), shares=st.integers(2, 40))
def test_ranges_give_what_the_whole_gives(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], shares: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"".join(parts))
    item = item_of(path)
    whole = all_drafts(file_documents(item, SOURCE, LIMITS))
    found = drafts_by_range(item, min(shares, item.size))
    assert found == whole and [draft.doc_id for draft in found] == [draft.doc_id for draft in whole]


def test_every_range_size_gives_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + b'{"text": "1"}\n\n{"text": "3"}\r\nbad\n' * 3
        + b'{"text": "'
        + b"y" * 90
        + b'"}\n{"text": "last"}'
    )
    item = item_of(path)
    whole = all_drafts(file_documents(item, SOURCE, LIMITS))
    assert [draft.place for draft in whole][-1] == "line=13,14" and whole[-2].rejected and whole[-2].rejected.line == 13
    for count in range(2, item.size + 1):
        assert drafts_by_range(item, count) == whole, count


def test_only_what_can_be_cut_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "PART_BYTES", 10)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "long enough"}\n' * 2)
    item = item_of(path)
    assert count_ranges(item) == item.size // 10 == 4
    for changes in ({"kind": "parquet"}, {"uri": "s3://bucket/a.jsonl"}, {"uri": f"{path.as_uri()}.gz"}, {"size": 19}):
        assert count_ranges(Item(**{**vars(item), **changes})) == 1


def test_a_file_that_is_not_what_was_seen_is_told_of_by_the_range_that_looks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "seen"}\n' * 4)
    item = item_of(path)
    found = ranges_of(item, 2)
    assert found is not None
    assert len(all_drafts(file_documents(item, SOURCE, LIMITS, replace(found[0], looks=True)))) == 2
    path.write_bytes(b'{"text": "else"}\n' * 4)
    with pytest.raises(ItemChanged, match="has changed since"):
        all_drafts(file_documents(item, SOURCE, LIMITS, found[1]))
    found = ranges_of(item, 2)
    assert found is not None
    with pytest.raises(ItemChanged, match="has changed since"):
        all_drafts(file_documents(item, SOURCE, LIMITS, replace(found[0], looks=True)))
    path.write_bytes(b'{"text": "seen"}\n' * 5)
    assert ranges_of(item, 2) is None
    path.unlink()
    assert ranges_of(item, 2) is None


def collected(folder: Path) -> Artifact:
    seen = snapshot(config=SnapshotConfig(sources=(Source(kind="files", path=str(folder)),)))
    return collect(snapshot=seen, config=CollectConfig(max_document_bytes=1000), resources=Resources(workers=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [b'{"text": "row %d"}' % number if number % 7 else b"bad" for number in range(300)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.jsonl").write_bytes(
        b"\n".join([*rows, b'{"text": "' + b"z" * 2000 + b'"}', b"", rows[1]])
    )
    (tmp_path / "in" / "small.jsonl").write_bytes(b'{"text": "small"}\n')
    return tmp_path / "in"


def test_workers_and_sizes_of_ranges_do_not_show(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    whole = Part(SOURCE, tuple(item_of(path) for path in sorted(folder.iterdir())))
    for part_bytes, workers in ((1 << 20, 1), (700, 1), (300, 3), (1500, 2)):
        monkeypatch.setattr(items, "PART_BYTES", part_bytes)
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / f"{part_bytes}"))
        reading = read_items([whole], LIMITS, in_threads(workers), lambda done, total: None)
        assert (reading.items, reading.read, reading.changed) == (2, 2, 0)
        found.append(list(read_drafts(reading.drafts[0].segments)))
    assert len(found[0][0]) == 303 and all(tables == found[0] for tables in found)


def test_nothing_is_remembered_of_a_large_file_that_is_not_what_was_seen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(items, "PART_BYTES", 1000)
    large = folder / "large.jsonl"
    item, before = item_of(large), large.read_bytes()

    def reading() -> Reading:
        return read_items([Part(SOURCE, (item,))], LIMITS, in_threads(2), lambda done, total: None)

    large.write_bytes(before.replace(b"row 2", b"raw 2"))
    assert reading().changed == 1
    large.write_bytes(before)
    again = reading()
    [texts] = [table["text"].to_pylist() for table in read_drafts(again.drafts[0].segments)]
    assert again.changed == 0 and "row 2" in texts and "row 290" in texts


def test_ranges_are_remembered_one_by_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(items, "PART_BYTES", 1000)
    write_drafts = drafting.write_drafts
    read: list[int | None] = []
    most = 3

    def watched(task: DraftTask) -> list[Drafted]:
        if len(read) == most:
            raise KeyboardInterrupt
        read.append(task.only and task.only.before)
        return write_drafts(task)

    monkeypatch.setattr(drafting, "write_drafts", watched)
    with pytest.raises(KeyboardInterrupt):
        collected(folder)
    first, read, most = read, [], 100
    assert len(collected(folder).path.name) == 64
    assert not {*first} & {*read} and len(first) + len(read) == (folder / "large.jsonl").stat().st_size // 1000 + 1
    read.clear()
    with (folder / "small.jsonl").open("a") as file:
        file.write('{"text": "more"}\n')
    collected(folder)
    assert read == [None]


def test_a_large_file_that_changes_while_it_is_read_is_told_of_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(items, "PART_BYTES", 1000)
    write_drafts, large = drafting.write_drafts, folder / "large.jsonl"
    before = large.read_bytes()

    def touched(task: DraftTask) -> list[Drafted]:
        if task.only and task.only.before:
            large.write_bytes(before + b"\n")
        return write_drafts(task)

    monkeypatch.setattr(drafting, "write_drafts", touched)
    corpus = collected(folder)
    [told] = (corpus.path / "quarantine.jsonl").read_text().splitlines()
    assert "has changed since the snapshot was taken" in told and '"line": null' in told
    large.write_bytes(before)
    os.utime(large)
    monkeypatch.setattr(drafting, "write_drafts", write_drafts)
    assert len((collected(folder).path / "quarantine.jsonl").read_text().splitlines()) == 44
