"""Legacy encodings: told where they can be told, Western text as ever, and never garbled where they cannot."""

import json
from pathlib import Path

import pytest

from tasks.text.decoding import decode
from tasks.text.encodings import NotText, encoding_of
from tasks.text.passages import read_passages
from tasks.text.readers import Passage, Rejected, Row, read_whole
from tasks.text.rows import read_rows

RUSSIAN = "Река берёт начало в северных холмах и течёт на юг через старый город к морю."
JAPANESE = "川は北の山から流れ出し、古い町を通って海へ注ぐ。春には低い畑が水に浸かる。"
CHINESE = "这条河发源于北方的山丘，向南流过古老的城镇，最后流入大海。"
GREEK = "Το ποτάμι πηγάζει από τους βόρειους λόφους και κυλά προς τα νότια μέσα από την πόλη."
CZECH = "Řeka pramení v severních kopcích a teče na jih starým městem až k moři."
GERMAN = "Der Fluss entspringt in den nördlichen Hügeln und fließt südwärts durch die alte Stadt."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (RUSSIAN, "iso8859-5"), (RUSSIAN, "cp866"), (GREEK, "cp1253"),
        (JAPANESE, "shift_jis"), (JAPANESE, "euc-jp"), (CHINESE, "gbk"), (CHINESE, "gb18030"),
        ("博物館除了星期一以外每天開放。那裡保存著一位商人遺贈給城市的大量繪畫和素描。", "big5"),
        ("박물관은 월요일을 제외하고 매일 문을 연다. 도서관 옆에 있다.", "euc-kr"), (CZECH, "cp1250"),
        (CZECH, "iso8859-2"), (GERMAN, "cp1252"), ("Così è più là, perché la città già sarà però verità.", "latin-1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("times", [1, 40])
def test_text_is_read_in_its_encoding(text: str, encoding: str, times: int) -> None:
    whole = "\n".join([text, "Chapter 1"] * times)
    assert decode(whole.encode(encoding)) == whole


def test_what_cannot_be_told_is_refused_and_not_guessed() -> None:
    with pytest.raises(NotText, match="no encoding that can be told"):
        decode(bytes(range(0xA0, 0x100)) * 3 + bytes(range(0x80, 0xA0)))


def test_utf8_with_a_stray_byte_stays_utf8() -> None:
    assert decode(RUSSIAN.encode() + b"\xe9") == RUSSIAN + "é"


def test_all_lines_of_a_file_are_read_in_one_encoding_and_its_utf8_lines_as_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in (RUSSIAN, "Да, он.")).encode("cp1251")
        + json.dumps({"text": CHINESE}, ensure_ascii=False).encode()
    )
    rows = list(read_rows(tmp_path / "a.jsonl", "jsonl", 10_000))
    found = [(row.fields["text"], row.encoding) for row in rows if isinstance(row, Row)]
    assert found == [(RUSSIAN, "cp1251"), ("Да, он.", "cp1251"), (CHINESE, None)]
    (tmp_path / "a.txt").write_bytes((RUSSIAN + "\nОн.\n").encode("koi8-r") + b"plain\n")
    [passage] = read_passages(tmp_path / "a.txt", 1000, 10_000)
    assert passage == Passage(1, 3, RUSSIAN + "\nОн.\nplain\n", True, "koi8-u")


@pytest.mark.parametrize(("charset", "codec"), [("windows-1251", "cp1251"), ("Shift_JIS", "cp932"), ("x-no", "cp1251")])
def test_a_page_on_disk_states_its_encoding(tmp_path: Path, charset: str, codec: str) -> None:
    text = f"<html><head><meta charset='{charset}'></head>{JAPANESE if codec == 'cp932' else RUSSIAN}"
    (tmp_path / "a.html").write_bytes(text.encode(codec))
    page = read_whole(tmp_path / "a.html", 10_000, is_html=True)
    assert isinstance(page, Passage) and (page.text, page.encoding) == (text, codec)
    short = f"<meta charset='{charset}'>Да"
    (tmp_path / "a.html").write_bytes(short.encode(codec))
    assert codec == "cp932" or charset == "x-no" or read_whole(tmp_path / "a.html", 99, is_html=True).text == short


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_files_are_read_line_by_line_whatever_their_size(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("".join(f"Zeile {n} ü\n" for n in range(2_000)).encode(encoding))
    passages = list(read_passages(tmp_path / "a.txt", 400, 1_000))
    assert len(passages) > 20 and all(isinstance(passage, Passage) for passage in passages)
    (tmp_path / "a.jsonl").write_bytes(
        "".join(json.dumps({"text": str(n)}) + "\n" for n in range(300)).encode(encoding)
    )
    rows = list(read_rows(tmp_path / "a.jsonl", "jsonl", 1_000))
    assert [row.fields["text"] for row in rows if isinstance(row, Row)] == [str(n) for n in range(300)]
    assert rows[7].line == 8


def test_few_bytes_are_western_and_a_sample_is_bounded() -> None:
    assert encoding_of("café".encode("latin-1")) == "cp1252"
    assert encoding_of(RUSSIAN.encode("cp1251") * 10_000) == "cp1251"


KEY = "\n".join(f"{n:02d}" + "MIIEowIBAAKCAQEAwQ3x" * 3 for n in range(30))


@pytest.mark.parametrize("before", [0, 3, 11])
def test_a_private_key_is_never_cut(tmp_path: Path, before: int) -> None:
    block = f"-----BEGIN RSA PRIVATE KEY-----\n\n{KEY}\n-----END RSA PRIVATE KEY-----\n"
    lines = "".join(f"Line {n} of a text about the river and the town.\n" for n in range(before))
    (tmp_path / "a.txt").write_text(lines + block + lines * 3 + "\n\n" + lines)
    passages = [passage for passage in read_passages(tmp_path / "a.txt", 400, 10_000) if isinstance(passage, Passage)]
    assert [block in passage.text for passage in passages].count(True) == 1
    assert sum("MIIE" in passage.text for passage in passages) == 1
    assert before == 0 or len(passages) > 2


def test_a_block_that_never_ends_is_cut_at_the_largest_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-----BEGIN PRIVATE KEY-----\n" + "A text goes on and on.\n" * 1000)
    passages = list(read_passages(tmp_path / "a.txt", 400, 5_000))
    assert max(len(passage.text) for passage in passages if isinstance(passage, Passage)) <= 5_000
    assert not any(isinstance(passage, Rejected) for passage in passages)
