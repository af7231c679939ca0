"""JSON lines that are read many at once become what they become one by one, however the lines conspire."""

import io
import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text import readers, rows
from tasks.text.json_columns import ColumnReader
from tasks.text.readers import Rejected, Row, blocks, lines
from tasks.text.rows import PlainLines, _plain_object, _plain_objects, read_rows, read_rows_in_blocks

PLAIN = [
    b'{"text": "a"}',
    b'{"text": "b \\n\\u0000", "n": 1, "new": true}',
    b' {"text": "\xc3\xa9", "x": null}\r',
    b"{}",
]
# Lines that are no object, but would make some with their neighbours or if a comma stood between them
CONSPIRING = [
    b'{"text":"a"', b'"b":2}', b'"b":2},{"text":"z"}', b'{"text":"a"},{"text":"b"}', b'{"text":"a"},0,{"text":"b"}',
    b'{"text":"a"},[1', b'2],{"text":"b"}', b'{"text":"a"},[],{"text":"b"}', b'{"text":"x},', b'{y"}', b"0", b",",
    b'{"text":"a"},', b',{"text":"a"}', b'{"text":"a"}{"text":"b"}', b'{"n":[{"x":1}', b'{"y":2}]}', b"],[",
    b'{"text":"a"},""', b'{"text":"a"},0',
]  # fmt: skip
UNUSUAL = [
    b"", b" ", b"\r", b'\xef\xbb\xbf{"text":"a"}', b'{"text":"\\ud800"}', b'{"text":"caf\xe9"}', b'{"\xed\xa0\x80":1}',
    b'{"text":"a","n":NaN}', b'{"n":1e999}', b'{"n":1.5}', b'{"n":123456789012345678901}', b'{"m":{"q":[1]}}', b"[1]",
    b'{"n":' + b"9" * 5000 + b"}", b'{"n":' + b"[" * 2000 + b"]" * 2000 + b"}", b'{"text":"a","text":"b"}', b"null",
    b'{"text":"' + b"x" * 300 + b'"}', b'{"\x7f":1}', b'{"text":"\xc2\x85\xc2\x86"}', b'{"text":"\xc2\xa0"}', b"\x00",
    b'{"text":"a"}\r{"text":"b"}', b'{"text":"a\tb"}', b'{"text":"a\x01b"}', b'{"text":"a"}\x0c', b"no", b'{"text":',
]  # fmt: skip
few_bad = st.lists(st.sampled_from(PLAIN * 20 + CONSPIRING + UNUSUAL), min_size=1, max_size=25)
all_bad = st.lists(st.sampled_from(PLAIN + CONSPIRING), min_size=1, max_size=6)


def one_at_a_time(path: Path, max_bytes: int) -> list[Row | Rejected]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "_plain_objects", lambda block, max_bytes: None)
        return list(read_rows(path, "jsonl", max_bytes))


@settings(max_examples=80, deadline=None)
@given(few_bad | all_bad, st.booleans(), st.sampled_from([1, 60, 1 << 17]), st.sampled_from([100, 400, 10_000]))
def test_many_at_once_are_what_they_are_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, given_lines: list[bytes], ended: bool, size: int, max_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    path.write_bytes(b"\n".join(given_lines) + b"\n" * ended)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(readers, "_BLOCK", size)
        assert repr(list(read_rows(path, "jsonl", max_bytes))) == repr(one_at_a_time(path, max_bytes))  # NaN is not NaN


def test_no_lines_pass_for_objects_together() -> None:
    for chosen in [*product(CONSPIRING + PLAIN[:1], repeat=3), *product(UNUSUAL)]:
        block = b"\n".join([PLAIN[0], *chosen, b""])
        each = [_plain_object(line) for line in io.BytesIO(block)]
        assert _plain_objects(block, 20_000) == (None if None in each else each), block
        if (columns := ColumnReader("text", None).read(block, 20_000)) is not None:
            assert columns.texts.to_pylist() == [one and one["text"] for one in each], block
    short_and_long = b'{"a": 1}\n{"a": 12345}\n'
    assert _plain_objects(short_and_long, 13) and not _plain_objects(short_and_long, 12)


def test_a_file_of_plain_lines_is_read_in_blocks_and_an_unusual_line_costs_its_own_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = json.dumps({"text": "row é " * 20}, ensure_ascii=False).encode() + b"\n"
    path.write_bytes(line * 3000 + b"no JSON\n" + line * 3000)
    found = list(read_rows_in_blocks(path, "jsonl", 10_000))
    many = [one for one in found if isinstance(one, PlainLines)]
    assert sum(len(one.objects) for one in many) > 3000
    [bad] = [one for one in found if isinstance(one, Rejected)]
    assert bad.line == 3001
    assert [row.line for row in read_rows(path, "jsonl", 10_000)] == [*range(1, 6002)]


class Pieces(io.RawIOBase):
    """A file that gives one of these pieces at a time, and fails at the end if it is to."""

    def __init__(self, pieces: Iterable[bytes], fails: bool = False) -> None:
        self._pieces, self._fails = iter(pieces), fails

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = next(self._pieces, b"")
        if self._fails and not piece:
            raise EOFError("cut")
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\n", b"\r", b"bc\nd", b"x" * 30, b"y\n" + b"z" * 50]), max_size=30),
    st.integers(1, 40),
    st.sampled_from([1, 10, 1000]),
    st.booleans(),
)
def test_lines_do_not_depend_on_how_they_are_read(pieces: list[bytes], max_bytes: int, size: int, fails: bool) -> None:
    data = b"".join(pieces)
    whole = [line for line in io.BytesIO(data) if line.endswith(b"\n") or not fails]
    expected: list[Any] = [line if len(line) <= max_bytes else len(line) for line in whole]
    numbers = [*range(8, 8 + len(whole))]
    if fails:
        is_overlong = len(data) - sum(map(len, whole)) > max_bytes  # the last line was known to be
        numbers.append(8 + len(whole) + is_overlong)
        expected.append(f"the file is cut short or damaged after line {numbers[-1] - 1}: cut")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(readers, "_BLOCK", size)
        found = list(lines(io.BufferedReader(Pieces(pieces, fails), 100), max_bytes, 7))
    assert [number for number, _ in found] == numbers
    assert [told(line) if isinstance(line, Rejected) else line for _, line in found] == expected


def told(rejected: Rejected) -> int | str:
    return rejected.reason if "damaged" in rejected.reason else rejected.size


def test_a_line_longer_than_all_blocks_is_passed_over() -> None:
    pieces = [b"short\n", *[b"x" * 50_000] * 100, b"\nlast"]
    found = blocks(io.BufferedReader(Pieces(pieces), 1 << 16), 1 << 20)
    assert [(number, told(block) if isinstance(block, Rejected) else block) for number, block in found] == [
        (1, b"short\n"), (2, 5_000_001), (3, b"last"),
    ]  # fmt: skip
