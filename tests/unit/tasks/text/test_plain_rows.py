"""Rows that are made into drafts by columns become what they become one by one."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.text import drafts, file_documents
from tasks.text.documents import Limits
from tasks.text.draft_reader import read_drafts
from tasks.text.drafts import DraftTask, write_drafts
from tasks.text.items import Item, Part
from tasks.text.sources import Source

text = st.text(max_size=20) | st.sampled_from(["", " \n", "\ud800 lone", "\\documentclass{a}", "é", "x" * 50])
rows = st.lists(
    st.fixed_dictionaries(
        {"text": text | st.none() | st.integers()},
        optional={"origin": text, "id": text | st.integers(), "license": st.sampled_from(["MIT", ""]), "other": text},
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@settings(max_examples=60, deadline=None)
@given(
    rows, st.sampled_from([None, "CC0-1.0"]), st.sampled_from([None, "origin"]), st.sampled_from([None, "docstring"])
)
@example(
    [{"text": "a"}, {"text": " "}, {"text": "\\documentclass{a}"}, {"id": 1, "text": "b"}, {"text": "a"}],
    None,
    None,
    None,
)
def test_by_columns_or_one_by_one(
    folder: Path, given_rows: list[dict], license: str | None, origin: str | None, kind: str | None
) -> None:
    path = folder / "rows.jsonl"
    lines = [json.dumps(row) for row in given_rows]
    path.write_text("\n".join([*lines, "no JSON", *lines]), encoding="utf-8", newline="\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    item = Item(path.as_uri(), path.stat().st_size, digest, "elsewhere", "Apache-2.0", "jsonl", 0, "train")
    source = Source(kind="files", path=str(path), license=license, origin_field=origin, text_kind=kind)
    expected = one_by_one(item, source, folder)
    for compiled in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(drafts, "pays", lambda num_bytes, compiled=compiled: compiled)
            assert drafted(item, source, folder) == expected


def drafted(item: Item, source: Source, folder: Path) -> list[dict]:
    file = folder / "any.drafts"
    [found] = write_drafts(DraftTask(Part(source, (item,)), Limits(400, 20_000, 0), file))
    table = pa.concat_tables(read_drafts([found.segment]))
    assert table.num_rows == found.segment.rows
    return table.to_pylist()


def one_by_one(item: Item, source: Source, folder: Path) -> list[dict]:
    """As if every row said something of itself."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(file_documents, "_SAYING", Everything())
        return drafted(item, source, folder)


class Everything:
    def isdisjoint(self, other: object) -> bool:
        return False
