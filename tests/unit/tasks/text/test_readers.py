"""Each format, and each kind of bad input, read from real small files."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.decoding import decode
from tasks.text.formats import format_of
from tasks.text.passages import read_passages
from tasks.text.readers import Passage, Rejected, Row, read_whole
from tasks.text.rows import _plain_object, read_rows

LIMIT = 10_000


def rows(path: Path, limit: int = LIMIT) -> list[Row | Rejected]:
    file_format = format_of(path)
    assert file_format is not None
    return list(read_rows(path, file_format, limit))


def fields(found: list[Row | Rejected]) -> list[dict]:
    return [row.fields for row in found if isinstance(row, Row)]


def reasons(found: list) -> list[tuple[int | None, str]]:
    return [(row.line, row.reason) for row in found if isinstance(row, Rejected)]


def jsonl(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "jsonl"), ("A.JSONL.GZ", "jsonl"), ("a.jsonl.zst", "jsonl"), ("a.parquet", "parquet"),
        ("a.parquet.gz", None), ("a.txt.gz", "text"), ("a.md", "markdown"), ("a.rst", "rst"), ("a.htm", "html"),
        ("notes.gz", "text"), ("a.csv", None), ("a.csv.gz", None), ("noext", None),
    ],
)  # fmt: skip
def test_the_name_tells_the_format(name, expected):
    assert format_of(Path(name)) == expected


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_json_lines_are_read_plain_and_compressed(tmp_path, ending):
    data = jsonl({"text": "één"}, {"text": "two"})
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[ending]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(compress(data))
    assert fields(rows(path)) == [{"text": "één"}, {"text": "two"}]


def test_zstd_frames_after_one_another_are_one_file(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(jsonl({"text": str(n)})) for n in range(3)))
    assert fields(rows(path)) == [{"text": "0"}, {"text": "1"}, {"text": "2"}]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_cut_compressed_file_gives_its_beginning_and_a_reject(tmp_path, ending):
    data = jsonl(*({"text": f"row {number} {hash(str(number))}"} for number in range(20_000)))
    whole = gzip.compress(data) if ending == ".gz" else zstandard.ZstdCompressor().compress(data)
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(whole[: len(whole) // 2])
    found = rows(path)
    assert len(fields(found)) > 1_000
    assert "cut short or damaged" in reasons(found)[-1][1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "open', "not valid JSON"),
        (b'["a", "b"]', "not an object but list; write one object a line"),
        (b"42", "not an object but int"),
        (b'{"text": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "not valid JSON"),
        (bytes(range(9)) * 20, "binary data"),
    ],
)
def test_a_malformed_line_is_rejected_with_its_number_and_the_rest_is_read(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl({"text": "before"}) + line + b"\n" + jsonl({"text": "after"}))
    found = rows(path, limit=1_000_000)
    assert fields(found) == [{"text": "before"}, {"text": "after"}]
    [(number, told)] = reasons(found)
    assert number == 2
    assert reason in told


def test_invalid_utf8_in_a_line_is_read_by_its_likely_encoding(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "café"}\n'.encode("cp1252"))
    assert fields(rows(path)) == [{"text": "café"}]


def test_an_overlong_line_is_rejected_and_the_next_one_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 5_000_000 + b'"}\n' + jsonl({"text": "next"}))
    found = rows(path, limit=1_000)
    assert fields(found) == [{"text": "next"}]
    [(number, reason)] = reasons(found)
    assert number == 1
    assert "5,000,013 bytes" in reason and "max_document_bytes" in reason


def test_an_overlong_line_does_not_enter_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(20):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    found = rows(path, limit=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(reasons(found)) == 1
    assert peak < 5_000_000


def test_parquet_rows_and_only_the_columns_asked_for(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None], "other": [1, 2]}), path)
    assert fields(list(read_rows(path, "parquet", LIMIT, ["text", "absent"]))) == [{"text": "a"}, {"text": None}]
    assert fields(list(read_rows(path, "parquet", LIMIT))) == [{"text": "a", "other": 1}, {"text": None, "other": 2}]


def test_a_damaged_parquet_file_is_one_reject(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    found = rows(path)
    assert fields(found) == []
    assert "damaged after row 0" in reasons(found)[0][1]


def test_a_text_file_is_cut_at_blank_lines_and_loses_nothing(tmp_path):
    path = tmp_path / "a.txt"
    text = "\n\n".join(f"Paragraph {number}.\n" + "word " * 30 for number in range(40)) + "\n"
    path.write_text(text)
    passages = [passage for passage in read_passages(path, 1_000, LIMIT) if isinstance(passage, Passage)]
    assert len(passages) > 5
    assert all(len(passage.text) <= 1_000 and passage.text.startswith("Paragraph") for passage in passages)
    assert "".join(passage.text for passage in passages).split() == text.split()
    lines = text.split("\n")
    for passage in passages:
        assert passage.text.rstrip("\n") == "\n".join(lines[passage.first - 1 : passage.last]).rstrip("\n")


def test_a_short_text_file_is_one_whole_passage(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffHallo\r\nWelt\r\n".encode())
    assert list(read_passages(path, 1_000, LIMIT)) == [Passage(1, 2, "Hallo\nWelt\n", whole=True)]


def test_utf16_text_is_read_by_its_byte_order_mark(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Hallo\n\nWelt".encode("utf-16"))
    [passage] = read_passages(path, 1_000, LIMIT)
    assert isinstance(passage, Passage) and passage.text.split() == ["Hallo", "Welt"]


def test_a_whole_file_is_bounded_and_binary_data_is_no_text(tmp_path):
    path = tmp_path / "a.md"
    path.write_bytes(b"# Title\r\n\r\nText\r\n")
    assert read_whole(path, LIMIT) == Passage(1, 4, "# Title\n\nText\n", whole=True)
    path.write_bytes(b"x" * (LIMIT + 1))
    assert "max_document_bytes" in read_whole(path, LIMIT).reason
    path.write_bytes(bytes(range(32)) * 10)
    assert "binary data" in read_whole(path, LIMIT).reason


def test_of_an_overlong_file_the_whole_size_is_told(tmp_path):
    size = 3 * LIMIT + 400_000
    for name, data in (("a.md", b"x" * size), ("a.html.gz", gzip.compress(b"x" * size))):
        (tmp_path / name).write_bytes(data)
        found = read_whole(tmp_path / name, LIMIT)
        assert isinstance(found, Rejected) and found.size == size
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(b"x" * size)[:-6])
    found = read_whole(tmp_path / "a.html.gz", LIMIT)
    assert isinstance(found, Rejected) and LIMIT < found.size <= size


def test_a_damaged_gzip_text_is_a_reject(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(b"this is not gzip")
    [found] = read_passages(path, 1_000, LIMIT)
    assert isinstance(found, Rejected) and "damaged" in found.reason
    path = tmp_path / "a.html.gz"
    path.write_bytes(b"this is not gzip")
    assert "damaged" in read_whole(path, LIMIT).reason


ODD = [
    r'{"a": "\ud800"}', r'{"a": "\ud83d\ude00"}', r'{"a": "\udc00\ud800"}', '{"a": NaN}', '{"a": -Infinity}',
    '{"a": 123456789012345678901234567890}', '{"a": 18446744073709551615}', '{"a": -9223372036854775809}', '{"a": -0}',
    '{"a": 1e3}', '{"a": 1, "a": 2}', ' \t{"a" : null }\r', '{"a": "tab\t"}', '{"a": "\x7f"}', '{"a": "\u0085é"}',
    '\ufeff{"a": 1}', '{"a": {"b": 1.0}}', "[]", '"a"', "{", '{"a": 01}', '{"a": "b"} {}', '{"\ud7ff\ue000": "🙂"}',
]  # fmt: skip
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), values, max_size=4).map(json.dumps) | st.sampled_from(ODD) | st.text())
def test_the_quick_parser_reads_what_the_plain_one_reads_or_leaves_it(line):
    data = line.encode("utf-8", "surrogatepass")
    found = _plain_object(data)
    assert found is None or repr(found) == repr(json.loads(decode(data)))


def test_the_quick_parser_reads_ordinary_rows():
    assert _plain_object('{"text": "naïve 漢字", "id": 3, "new": true}'.encode()) is not None
