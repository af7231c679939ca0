"""Files named .json: one document, rows in a list, or JSON lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.text import json_documents
from tasks.text.readers import Rejected, Row
from tasks.text.rows import read_rows

ROWS = [{"text": f"row {n} é", "deep": {"n": [n]}} for n in range(30)]


def found(path: Path, data: str, limit: int = 10_000, encoding: str = "utf-8") -> list[Any]:
    path.write_bytes(data.encode(encoding))
    rows = list(read_rows(path, "jsonl", limit))
    return [row.fields if isinstance(row, Row) else (row.line, row.reason) for row in rows]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1 << 20, 7])
def test_a_list_is_read_element_by_element(
    tmp_path: Path, indent: int | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_documents, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    assert found(path, json.dumps(ROWS, indent=indent, ensure_ascii=False), limit=200) == ROWS
    lines = [row.line for row in read_rows(path, "jsonl", 200)]
    assert lines == [1] * 30 if indent is None else lines[:3] == [2, 10, 18]


def test_one_object_is_one_row_and_json_lines_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert found(path, json.dumps(ROWS[0], indent=2)) == [ROWS[0]]
    assert found(path, json.dumps(ROWS[0], indent=2), encoding="utf-16") == [ROWS[0]]
    assert found(path, "\n".join(map(json.dumps, ROWS))) == ROWS
    assert found(path, "\n".join(["{broken", *map(json.dumps, ROWS)]))[1:] == ROWS
    assert found(path, json.dumps(ROWS[0])) == [ROWS[0]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ('{\n"a": [1,\n', "not valid JSON"), ('["a", "b"]', "holds str where a row should be"), ("42", "holds int"),
        ("{\n" + '"a": 1,\n' * 2000 + '"b": 2}', "longer than max_document_bytes"), ("[" * 5000, "not valid JSON"),
        ('[{"text": "' + "a" * 20_000, "not valid JSON"), ('[{"text": 1} {"text": 2}', "not valid JSON"),
    ],
)  # fmt: skip
def test_anything_else_is_one_item_in_quarantine(tmp_path: Path, data: str, reason: str) -> None:
    *_, (line, told) = found(tmp_path / "a.json", data)
    assert (
        line is None and reason in told and sum(isinstance(row, tuple) for row in found(tmp_path / "a.json", data)) == 1
    )


def test_lone_carriage_returns_end_rows(tmp_path: Path) -> None:
    rows = [{"text": str(n)} for n in range(5)]
    assert found(tmp_path / "a.jsonl", "\r".join(map(json.dumps, rows))) == rows
    assert found(tmp_path / "a.jsonl", "\r\n".join(map(json.dumps, rows)) + "\r" + json.dumps(rows[0])) == [
        *rows,
        rows[0],
    ]
    assert isinstance(next(iter(read_rows(tmp_path / "a.jsonl", "jsonl", 20))), Row | Rejected)
