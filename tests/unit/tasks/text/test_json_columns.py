"""Lines that machine code reads as columns are those that are read one by one, and say the same."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.json_columns import ColumnReader
from tasks.text.rows import _plain_objects

READER = ColumnReader("text", "origin", frozenset({"id", "license"}))
TEXT = r'"\u00e9\u0041\ud83d\ude00 \"\\\/\b\f\n\r\t\u0000\u007f é 漢字 😀 end"'
TAKEN = [
    '{"text":"a","origin":"b"}',
    ' {\t"origin" : "b" , "n" : -12 , "text" : "" }\r',
    '{"text":' + TEXT + ',"origin":"é","x":true}',
    '{"origin":"o","text":"' + "long " * 50 + '","a":false,"b":null,"c":0,"text2":"' + "é" * 99 + '"}',
]  # fmt: skip
LEFT = [
    '{"text":"a"}', '{"origin":"a"}', '{"text":"a","origin":""}', '{"text":"a","origin":null}',
    '{"text":1,"origin":"a"}',
    '{"text":"a","origin":"b","id":1}', '{"text":"a","text":"b","origin":"c"}', '{"te\\u0078t":"a","origin":"b"}',
    '{"text":"a","origin":"b",}', '{"text":"a","origin":"b"} {}', '{"text":"a" "origin":"b"}', '{"text" "a"}', "[]",
    "{}",
    '{"text":"\\ud83d","origin":"b"}', '{"text":"\\ude00","origin":"b"}', '{"text":"\\ud83d\\ud83d","origin":"b"}',
    '{"text":"\\x","origin":"b"}', '{"text":"\\u12g4","origin":"b"}', '{"text":"\x7f","origin":"b"}', "", " ",
    '{"text":"\x85","origin":"b"}', '{"text":"\t","origin":"b"}', '{"text":"a","origin":"b","n":01}',
    '{"text":"a","origin":"b","n":1.5}', '{"text":"a","origin":"b","n":' + "9" * 19 + "}",
    '{"text":"a","origin":"b","n":-}',
    '{"text":"a","origin":"b","n":[1]}', '{"text":"a","origin":"b","n":nul}', '{"text":"a","origin":"b","n":"\\ud800"}',
    '{"text":"a","origin":"b"', '{"text":"a","origin":"b', '{"text":"a","origin":"b\\', '{"text":"a","origin":"b\\u00',
]  # fmt: skip
BROKEN = [
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xff",
    b"\xe6\xbc",
    b"\x80",
]


def agrees(block: bytes, max_bytes: int = 10_000) -> bool:
    """Whether the block is taken; if so, what is read has to be right."""
    found = READER.read(block, max_bytes)
    if found is None:
        return False
    objects = _plain_objects(block, max_bytes)
    assert objects is not None and not any({"id", "license"} & set(line) for line in objects)
    assert found.texts.to_pylist() == [line["text"] for line in objects]
    assert found.origins.to_pylist() == [line["origin"] for line in objects]
    found.texts.validate(full=True)
    found.origins.validate(full=True)
    return True


@pytest.mark.parametrize("line", TAKEN)
def test_plain_lines_are_taken(line: str) -> None:
    for around in ("", TAKEN[0] + "\n"):
        assert agrees(f"{around}{line}\n{around}{line}".encode())
    assert ColumnReader("text", None).read(line.encode(), 10_000).texts.to_pylist() == [json.loads(line)["text"]]


@pytest.mark.parametrize("line", LEFT)
def test_all_others_are_left(line: str) -> None:
    assert not agrees(f"{TAKEN[0]}\n{line}\n".encode())
    assert not agrees(f"{TAKEN[0]}\n{line}\n{TAKEN[0]}".encode())


@pytest.mark.parametrize("bad", BROKEN)
@pytest.mark.parametrize("rest", [b"", b"x" * 80])
def test_what_is_no_utf8_is_left(bad: bytes, rest: bytes) -> None:
    for line in (
        b'{"text":"%s","origin":"b"}',
        b'{"text":"a","origin":"b","n":"%s"}',
        b'{"text":"a","origin":"b","%s":0}',
    ):
        assert not agrees(line % (bad + rest))


def test_lines_that_are_too_long_are_left() -> None:
    line = TAKEN[0].encode() + b"\n"
    assert agrees(line * 3, len(line)) and not agrees(line * 3, len(line) - 1)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.fixed_dictionaries({"text": st.text(), "origin": st.text(min_size=1)}), min_size=1), st.booleans())
def test_what_is_read_is_what_was_written(rows: list[dict[str, str]], ascii_only: bool) -> None:
    block = b"".join(json.dumps(row, ensure_ascii=ascii_only).encode() + b"\n" for row in rows)
    if agrees(block):
        assert READER.read(block, 10_000).texts.to_pylist() == [row["text"] for row in rows]
    else:  # of the characters that occur, some are control characters
        assert not ascii_only and any(0x7F <= ord(sign) < 0xA0 for sign in block.decode())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TAKEN), st.integers(0, 400), st.binary(max_size=2), st.integers(0, 3))
def test_damaged_lines_are_read_as_they_are_one_by_one(line: str, place: int, put: bytes, dropped: int) -> None:
    data = line.encode()
    agrees(data[:place] + put + data[place + dropped :])
    agrees(data[:place] + put + data[place + dropped :] + b"\n" + data)
