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


ALIKE = table("a", "b", "c")
LACKING = ALIKE.set_column(9, "collected_from", pa.nulls(3, SCHEMA.field("collected_from").type))
EVERYWHERE = {"source": "file:///a#ä", "license": "MIT", "line": 7, "bytes_in": 3, "encoding": "latin-1", "origin": ""}
FILLED = pa.Table.from_pylist([row | EVERYWHERE for row in ALIKE.to_pylist()], SCHEMA)


@pytest.mark.parametrize(
    "rows",
    [
        ALIKE.slice(1, 1), LACKING, FILLED, pa.concat_tables([FILLED, ALIKE]), pa.concat_tables([ALIKE, FILLED, ALIKE]),
        pa.concat_tables([LACKING.slice(0, 2), ALIKE]), pa.concat_tables([FILLED.slice(2), LACKING]),
    ],
)  # fmt: skip
def test_columns_come_back_whether_they_say_one_thing_or_several(tmp_path: Path, rows: pa.Table) -> None:
    with closing(DraftWriter(tmp_path / "a.drafts")) as writer:
        writer.write(rows)
    with closing(DraftFile(tmp_path / "a.drafts")) as file:
        found = file.read(0)
        found.validate(full=True)
        assert found.equals(rows.combine_chunks()) and found.schema == SCHEMA
        for name in SCHEMA.names:
            assert file.read(0, [name]).equals(rows.select([name]).combine_chunks())


def test_what_all_rows_say_is_stored_once(tmp_path: Path) -> None:
    where = {"file": "file:///a" * 100, "sha256": "0" * 64, "place": "line=0,1", "date": None, "digest": None}
    row = {"doc_id": "0", "text": "", "bytes_in": 0, "origin": "o" * 1000, "collected_from": where}
    sizes = []
    for count in (100, 200):
        with closing(DraftWriter(tmp_path / "a.drafts")) as writer:
            writer.write(pa.Table.from_pylist([row | {"doc_id": str(number)} for number in range(count)], SCHEMA))
        sizes.append((tmp_path / "a.drafts").stat().st_size)
    assert sizes[1] - sizes[0] < 100 * 50


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
