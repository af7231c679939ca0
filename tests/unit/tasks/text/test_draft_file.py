"""Drafts come back as they were written, or it is said that they do not."""

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.text.draft_file import SCHEMA, DamagedDrafts, DraftFile, DraftWriter
from tasks.text.draft_reader import read_drafts
from tasks.text.drafts import Segment


def table(*texts: str | None) -> pa.Table:
    rows = [{"doc_id": str(number), "text": text, "bytes_in": number} for number, text in enumerate(texts)]
    where = {"file": "file:///a", "sha256": "0", "place": "line=0,1", "date": None, "digest": None}
    return pa.Table.from_pylist([{**row, "collected_from": where} for row in rows], SCHEMA)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[pa.Table]]:
    tables = [table("eins", None, ""), table(), pa.concat_tables([table("zwei"), table("drei", "vier")]).slice(1)]
    with closing(DraftWriter(tmp_path / "a.drafts")) as writer:
        for each in tables:
            writer.write(each)
    return tmp_path / "a.drafts", [tables[0], tables[2]]


def test_tables_come_back_whole_or_by_columns(written: tuple[Path, list[pa.Table]]) -> None:
    path, tables = written
    with closing(DraftFile(path)) as file:
        assert file.starts == [0, 3, 5]
        for number in (1, 0, 1):
            assert file.read(number).equals(tables[number])
            for columns in (["reason", "doc_id"], ["text"], ["line", "collected_from"]):
                assert file.read(number, columns).equals(tables[number].select(columns))


def test_every_changed_or_missing_byte_is_noticed(written: tuple[Path, list[pa.Table]]) -> None:
    path, tables = written
    rows, data = Segment(path, 0, 5), path.read_bytes()
    assert pa.concat_tables(read_drafts([rows])).equals(pa.concat_tables(tables))
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(DamagedDrafts):
            list(read_drafts([rows]))
        path.write_bytes(data[:place])
        with pytest.raises(DamagedDrafts):
            list(read_drafts([rows]))
