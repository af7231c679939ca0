"""A hint to the disk: it changes nothing that can be seen, and may fail without harm."""

import ctypes
import json
import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.collect import CollectConfig, collect
from tasks.lineage import writeback
from tasks.lineage.writeback import begin_writing, let_go
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text import draft_reader
from tasks.text.shards import SCHEMA, CorpusWriter
from tasks.text.sources import Source
from tasks.text.token_shards import ShardWriter


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int, int, int]]:
    """The files that the disk was asked to write, with the other arguments."""
    found: list[tuple[Path, int, int, int]] = []

    def ask(descriptor: int, begin: int, num_bytes: int, flags: int) -> int:
        found.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), begin, num_bytes, flags))
        return 0

    monkeypatch.setattr(writeback, "_sync_file_range", lambda: ask)
    return found


def test_a_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shard.bin"
    with path.open("wb") as file:
        file.write(b"one")
        begin_writing(path)  # while it is open
        file.write(b"two")
    begin_writing(path)
    assert path.read_bytes() == b"onetwo"


def test_what_is_not_there_is_left_alone(tmp_path: Path) -> None:
    begin_writing(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_system_without_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", lambda: None)
    (tmp_path / "a").write_bytes(b"a")
    begin_writing(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"a"


def test_linux_has_it(tmp_path: Path) -> None:
    begin = writeback._sync_file_range()
    assert (begin is not None) == (sys.platform == "linux")
    if begin is not None:
        with (tmp_path / "a").open("wb") as file:
            file.write(b"a" * 10_000)
            assert begin(file.fileno(), 0, 0, 2) == 0


def test_all_of_the_file_is_asked_for(tmp_path: Path, asked: list[tuple[Path, int, int, int]]) -> None:
    (tmp_path / "a").write_bytes(b"a")
    begin_writing(tmp_path / "a")
    assert asked == [(tmp_path / "a", 0, 0, 2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_files_of_a_corpus_are_on_their_way(
    tmp_path: Path, asked: list[tuple[Path, int, int, int]], workers: int
) -> None:
    with CorpusWriter(tmp_path, workers=workers) as corpus:
        corpus.write(pa.table({"doc_id": ["1"], "text": pa.array(["a text"], SCHEMA.field("text").type)}))
    assert [path.name for path, *_ in asked] == ["documents-00000.parquet"]


def test_token_shards_are_on_their_way(tmp_path: Path, asked: list[tuple[Path, int, int, int]]) -> None:
    shards = ShardWriter(tmp_path, "train", np.dtype("<u2"), shard_tokens=2)
    for _ in range(2):
        shards.write(pa.array(["1"]), np.arange(3), np.array([3]), np.array([9]))
    shards.close()
    assert [path.name for path, *_ in asked] == ["train-00000.bin", "train-00001.bin"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells what the system holds")
def test_what_is_let_go_is_no_longer_in_memory_and_comes_back_from_the_disk(tmp_path: Path) -> None:
    path, other = tmp_path / "drafts", tmp_path / "other"
    for each in (path, other):
        each.write_bytes(os.urandom(1 << 20))
    with path.open("rb") as file, other.open("rb") as compared:
        os.fsync(file.fileno())
        os.fsync(compared.fileno())
        os.posix_fadvise(compared.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = path.read_bytes()
    assert held(path) == -(-len(before) // mmap.PAGESIZE)
    let_go(path)
    assert held(path) == held(other)  # none, but on a file system that lies in memory
    assert path.read_bytes() == before and held(path) > 0


def test_what_is_not_on_the_disk_yet_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "drafts"
    path.write_bytes(b"new" * 100_000)
    let_go(path)
    assert path.read_bytes() == b"new" * 100_000
    let_go(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def held(path: Path) -> int:
    """Pages of a file that the system holds in memory (mincore(2))."""
    size = path.stat().st_size
    library = ctypes.CDLL(None)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert library.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), found) == 0
    return sum(page & 1 for page in found)


def test_drafts_are_on_their_way_to_the_disk_and_let_go_after_the_last_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Path, int, int, int]]
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps({"text": f"the text of {name}"}) + "\n")
    left: list[Path] = []
    monkeypatch.setattr(draft_reader, "let_go", left.append)
    sources = tuple(Source(kind="files", path=str(tmp_path / "in" / f"{name}.jsonl")) for name in ("a", "b"))
    seen = snapshot(config=SnapshotConfig(sources=sources, evaluation_share=0))
    corpus = collect(snapshot=seen, config=CollectConfig(), resources=Resources(workers=1))
    drafts = sorted((tmp_path / "home" / "cache" / "drafts").glob("*.drafts"))
    assert len(drafts) == 2 and sorted(left) == drafts
    assert set(drafts) <= {path for path, *_ in asked}
    assert sum(pq.read_metadata(path).num_rows for path in corpus.path.glob("documents-*")) == 2
