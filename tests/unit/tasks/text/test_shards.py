"""A corpus is cut by bytes, and its bytes are the same whether a thread writes them or not."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.text import shards
from tasks.text.shards import (
    LEFT_PIECES,
    CorpusWriter,
    count_bytes,
    count_documents,
    pieces,
    read_corpus,
    row_groups,
    shard_paths,
    slices_by_bytes,
)


def table(*sizes: int | None) -> pa.Table:
    texts = [None if size is None else "é" * (size // 2) + "x" * (size % 2) for size in sizes]
    return pa.table(
        {"doc_id": [str(number) for number in range(len(sizes))], "text": pa.array(texts, pa.large_string())}
    )


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([3], [1]),
        ([30, 1], [1, 1]),
        ([4, 4, 2, 1], [3, 1]),
        ([0, None, 10, 0, 1], [4, 1]),
        ([11, 11], [1, 1]),
    ],
)
def test_slices_hold_so_many_bytes_or_one_text(sizes: list[int | None], expected: list[int]) -> None:
    found = list(slices_by_bytes(table(*sizes), 10))
    assert [part.num_rows for part in found] == expected
    assert not sizes or pa.concat_tables(found).equals(table(*sizes))


def test_threads_write_the_same_bytes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "BATCH_BYTES", 1000)
    monkeypatch.setattr(shards, "PIECE_BYTES", 4000)
    written = {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        with CorpusWriter(folder, workers=workers) as writer:
            for size in np.random.default_rng(0).integers(1, 900, 40).tolist():
                writer.write(table(size, 3))
        written[workers] = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert written[1] == written[2] and len(written[1]) > 2
    assert count_documents(tmp_path / "2") == 80 == sum(part.num_rows for part in read_corpus(tmp_path / "2"))
    assert count_bytes(tmp_path / "2") >= writer.bytes
    groups = list(row_groups(tmp_path / "2"))
    assert len(groups) > 2 and [group.rows for group in groups] == [group.read(["text"]).num_rows for group in groups]
    tables = [table for group in groups for table in group.tables()]
    assert [table.to_pylist() for table in tables] == [table.to_pylist() for table in read_corpus(tmp_path / "2")]


def test_pieces_hold_all_documents_and_each_becomes_a_file(tmp_path, monkeypatch) -> None:
    """Whatever order they are worked on in, and whatever constant another process knows."""
    monkeypatch.setattr(shards, "BATCH_BYTES", 1000)
    monkeypatch.setattr(shards, "PIECE_BYTES", 5000)
    for name in ("given", "written", "again"):
        (tmp_path / name).mkdir()
    with CorpusWriter(tmp_path / "given") as writer:
        for size in [*np.random.default_rng(0).integers(1, 900, 90).tolist(), 9000, 1]:
            writer.write(table(size, 3))
    found = list(pieces(tmp_path / "given"))
    sizes, left = [sum(group.size for group in piece.groups) for piece in found], count_bytes(tmp_path / "given")
    for piece, size in zip(found, sizes, strict=True):  # the last ones are smaller: no worker then works on alone
        most = min(5000, max(1000, left / LEFT_PIECES))
        assert size - piece.groups[-1].size < most and (size >= most or piece is found[-1])
        left -= size
    assert left == 0 and sizes[0] >= 5000 and len(found) > LEFT_PIECES
    for name, order in (("written", found), ("again", found[::-1])):
        for piece in order:
            with CorpusWriter(tmp_path / name, piece=piece) as writer:
                for part in piece.tables():
                    writer.write(part)
        monkeypatch.setattr(shards, "BATCH_BYTES", 4 << 20)
        monkeypatch.setattr(shards, "PIECE_BYTES", 1)
    written, again = ([(p.name, p.read_bytes()) for p in shard_paths(tmp_path / name)] for name in ("written", "again"))
    assert len(written) == len(found) and written == again
    given, read = (pa.concat_tables(read_corpus(tmp_path / name)).to_pylist() for name in ("given", "written"))
    assert given == read


def test_what_fails_in_a_thread_is_raised(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(shards, "BATCH_BYTES", 1)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="no space left"), CorpusWriter(tmp_path, workers=2) as writer:
        for _ in range(3):
            writer.write(table(5))


def test_who_gives_up_waits_for_what_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "BATCH_BYTES", 1)
    with pytest.raises(KeyError), CorpusWriter(tmp_path, workers=2) as writer:
        writer.write(table(5))
        writer.write(pa.table({"no": ["text"]}))
    assert count_documents(tmp_path) == 1
