"""A hint to the disk: it changes nothing that can be seen, and may fail without harm."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.lineage import writeback
from tasks.lineage.writeback import begin_writing
from tasks.text.shards import SCHEMA, CorpusWriter
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
