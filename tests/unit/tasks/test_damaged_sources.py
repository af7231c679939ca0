"""What is damaged or not to be had costs itself alone, and is told of; what can be had later is tried again."""

import json
import os
import random
import zipfile
from pathlib import Path

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.clean import CleanConfig, clean
from tasks.collect import CollectConfig, collect
from tasks.lineage.errors import DataError
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Artifact, Resources
from tasks.text.readers import Rejected, Row
from tasks.text.remote import NotFetched, copied
from tasks.text.rows import read_rows
from tasks.text.sources import Source
from tests.unit.tasks.corpora import ledger, read
from tests.unit.tasks.specimens import ARTICLE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def collected(path: str | Path, kind: str = "files", **config) -> Artifact:
    source = Source.model_validate({"kind": kind, "path": str(path)})
    seen = snapshot(config=SnapshotConfig(sources=(source,)))
    return collect(snapshot=seen, config=CollectConfig(**config), resources=Resources(workers=1))


def quarantine(corpus: Artifact) -> list[dict]:
    return [json.loads(line) for line in (corpus.path / "quarantine.jsonl").read_text().splitlines()]


def test_a_damaged_member_of_an_archive_costs_itself_alone(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.txt", random.Random(1).randbytes(3000).hex())
        archive.writestr("two.txt", "two")
    data = bytearray((folder / "a.zip").read_bytes())
    data[400:460] = bytes(60)
    (folder / "a.zip").write_bytes(data)
    corpus = collected(f"zip://*.txt::{(folder / 'a.zip').as_uri()}")
    assert [row["text"] for row in read(corpus)] == ["two"]
    [entry] = quarantine(corpus)
    assert entry["uri"].startswith("zip://one.txt") and "cannot be read" in entry["reason"]


def test_what_is_elsewhere_and_cannot_be_had_now_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/t/a.txt", b"one")

    def unavailable(*_: object, **__: object) -> None:
        raise OSError("503 Service Unavailable")

    try:
        monkeypatch.setattr(type(filesystem), "open", unavailable)
        with (
            pytest.raises(NotFetched, match=r"memory:///t/a.txt cannot be fetched: OSError: 503"),
            copied("memory:///t/a.txt", ""),
        ):
            pass
    finally:
        filesystem.store.clear()


def test_rows_of_a_saved_data_set_are_bounded_and_a_cut_one_is_told_of(folder: Path) -> None:
    datasets.Dataset.from_dict({"text": ["short", "x" * 2000]}).save_to_disk(str(folder / "a"))
    corpus = collected(folder / "a", "huggingface", max_document_bytes=1000)
    assert [row["text"] for row in read(corpus)] == ["short"]
    assert "max_document_bytes (1,000)" in quarantine(corpus)[0]["reason"]
    table = next((folder / "a").glob("*.arrow"))
    table.write_bytes(table.read_bytes()[:900])
    with pytest.raises(DataError, match=r"could not: file:.*cannot be read, or not to its end"):
        collected(folder / "a", "huggingface")


def test_a_damaged_row_group_costs_itself_alone(folder: Path) -> None:
    path = folder / "a.parquet"
    pq.write_table(
        pa.table({"text": [f"{n} {random.Random(n).random()}" for n in range(400)]}), path, row_group_size=100
    )
    data = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data[place : place + 60] = b"\xff" * 60
    path.write_bytes(data)
    rows = list(read_rows(path, "parquet", 1000))
    assert [row.line for row in rows if isinstance(row, Row)] == [*range(1, 101), *range(201, 401)]
    [rejected] = [row for row in rows if isinstance(row, Rejected)]
    assert rejected.line == 101 and "damaged after row 100" in rejected.reason


def test_files_without_the_text_field_count_as_files_and_one_document_as_one(folder: Path) -> None:
    (folder / "package.json").write_text(
        json.dumps({"name": "x", "dependencies": dict.fromkeys("abcdef", "1")}, indent=1)
    )
    (folder / "pairs.jsonl").write_text("".join(json.dumps({"question": f"{n}"}) + "\n" for n in range(60)))
    with pytest.raises(DataError, match=r"61 of 61 rows .* could not be read, more than"):
        collected(folder)
    (folder / "a.txt").write_text("one")
    corpus = collected(folder)
    assert [row["text"] for row in read(corpus)] == ["one"]
    assert len(quarantine(corpus)) == 61 == len(ledger(corpus)) - 1
    half = "".join(json.dumps({"text" if n % 2 else "b": f"{n}"}) + "\n" for n in range(60))
    (folder / "half.jsonl").write_text(half)
    with pytest.raises(DataError, match="30 of 61 rows"):
        collected(folder)


def test_files_that_hold_nothing_stand_in_the_ledger(folder: Path) -> None:
    for name in ("a.txt", "b.jsonl", "c.jsonl.gz", "d.txt.zst", "e.html"):
        (folder / name).write_bytes(b"")
    (folder / "f.jsonl").write_bytes(b"\n" * 100)
    (folder / "g.txt").write_bytes(b"a text")
    corpus = collected(folder)
    empty = [row["source"].rpartition("/")[2] for row in ledger(corpus).values() if row["reason"] == "empty"]
    assert sorted(empty) == ["a.txt", "b.jsonl", "c.jsonl.gz", "d.txt.zst", "e.html", "f.jsonl"]


def test_an_edit_in_place_that_keeps_size_and_time_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.text.digests._SETTLED_NS", -1)  # as if the file had lain there for long
    path = folder / "a.txt"
    path.write_text("AAAA one")
    os.utime(path, (1e9, 1e9))
    collected(folder)
    with path.open("r+b") as file:
        file.write(b"BBBB")
    os.utime(path, (1e9, 1e9))
    assert [row["text"] for row in read(collected(folder))] == ["BBBB one"]


def test_of_ten_thousand_random_rows_each_is_accounted_for(folder: Path) -> None:
    chance = random.Random(427)
    pieces = [
        b'{"text": "',
        b'"}',
        b'{"text": null}',
        b"\\ud800",
        b"\xff",
        b"\xc3\xa9",
        b"\x00",
        b"[",
        b"42",
        b" ",
        b"{",
    ]
    pieces += [f"{word} ".encode() for word in ARTICLE.split()]
    rows = []
    for number in range(10_000):
        if number % 3:
            row = json.dumps({"text": f"{number} {ARTICLE[: chance.randrange(300)]}", "id": number}).encode()
            row = row if chance.random() < 0.7 else row[: chance.randrange(1, len(row))]
        else:
            row = b"".join(chance.choices(pieces, k=chance.randrange(1, 12)))
        rows.append(row if row.strip() else b"x")
    (folder / "a.jsonl").write_bytes(b"\n".join(rows))
    corpus = collected(folder, max_bad_share=1.0)
    entries = pq.read_table(corpus.path / "ledger.parquet").to_pylist()
    told = quarantine(corpus)
    assert (
        len(entries)
        == 10_000
        == len({row["line"] for row in told}) + sum(row["reason"] != "quarantined" for row in entries)
    )
    kept = {row["doc_id"] for row in entries if row["decision"] == "kept"}
    cleaned = clean(corpus=corpus, config=CleanConfig(), resources=Resources(workers=1))
    assert {row["doc_id"] for row in ledger(cleaned).values()} == kept
