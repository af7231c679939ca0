"""What each kind of file gives: its text, and what it says of its licence, language and place."""

import json
from pathlib import Path

import pytest

from tasks.collect import CollectConfig, collect
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.conversations import conversation_of
from tasks.text.sources import Source
from tasks.text.tex import is_tex
from tests.unit.tasks.corpora import ledger, read
from tests.unit.tasks.specimens import ARTICLE, PARAGRAPHS, every_format, page, pdf, warc_record


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def collected(folder: Path, more: dict | None = None, **config):
    source = Source(kind="files", path=str(folder), **(more or {}))
    seen = snapshot(config=SnapshotConfig(sources=(source,)))
    return collect(snapshot=seen, config=CollectConfig(**config), resources=Resources(workers=1))


def by_source(artifact) -> dict[str, dict]:
    return {row["source"].rpartition("/")[2]: row for row in read(artifact)}


def test_every_format_gives_documents_that_say_where_they_were_read(folder: Path) -> None:
    for name, content in every_format().items():
        (folder / name).write_bytes(content)
    rows = read(collected(folder))
    holding = {row["collected_from"]["file"].rpartition("/")[2] for row in rows}
    assert holding == every_format().keys() - {"l.warc.gz"}, "its records are those of k.warc again"
    for row in rows:
        assert len(row["collected_from"]["sha256"]) == 64
        assert row["text"].strip()


def test_a_web_archive_gives_main_texts_with_address_date_digest_licence_and_language(folder: Path) -> None:
    records = [
        warc_record("https://example.org/a", page(ARTICLE)),
        warc_record("https://example.org/missing", page("Not found"), status="404 Not Found"),
        warc_record("https://example.org/picture", b"\x89PNG", content_type="image/png"),
        warc_record("https://example.org/plain", b"As it is.", content_type="text/plain"),
        warc_record(
            "https://example.org/a", b"GET / HTTP/1.1\r\n\r\n", kind="request", content_type="application/http"
        ),
    ]
    (folder / "crawl.warc").write_bytes(b"".join(records))
    artifact = collected(folder)
    rows = by_source(artifact)
    assert set(rows) == {"a", "plain"}
    one = rows["a"]
    assert one["text"].startswith("Heading\n\nThe river rises") and "Home" not in one["text"]
    assert (one["source"], one["license"], one["language"]) == ("https://example.org/a", "CC-BY-SA-4.0", "en-gb")
    assert one["origin"] == (folder / "crawl.warc").as_uri() == one["collected_from"]["file"]
    assert one["collected_from"]["date"] == "2024-01-02T03:04:05Z"
    assert one["collected_from"]["digest"].startswith("sha1:ABC")
    assert one["collected_from"]["place"] == "offset=0"
    offset = sum(map(len, records[:3]))
    assert rows["plain"]["collected_from"]["place"] == f"offset={offset}"
    assert [row["reason"] for row in ledger(artifact).values() if row["decision"] == "dropped"] == ["not_a_page"] * 2


def test_a_wet_file_gives_the_texts_that_it_holds(folder: Path) -> None:
    said = "WARC-Identified-Content-Language: eng\r\n"
    text = ARTICLE.encode()
    (folder / "a.wet").write_bytes(warc_record("https://example.org/w", text, "conversion", "text/plain", more=said))
    [row] = read(collected(folder))
    assert (row["text"], row["source"], row["language"]) == (ARTICLE, "https://example.org/w", "eng")


def test_the_pages_of_a_pdf_file_are_one_document(folder: Path) -> None:
    (folder / "a.pdf").write_bytes(pdf("The first page.", "The second."))
    [row] = read(collected(folder))
    assert (row["text"], row["kind"]) == ("The first page.\n\nThe second.", "text")


def test_code_carries_its_language_and_the_licence_that_lies_nearest(folder: Path) -> None:
    (folder / "LICENSE").write_text("Permission is hereby granted, free of charge, to any person obtaining a copy")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "COPYING").write_text("Mozilla Public License Version 2.0")
    (folder / "a.py").write_text("x = 1\n")
    (folder / "b.rs").write_text("// SPDX-License-Identifier: MIT OR Apache-2.0\nfn main() {}\n")
    (folder / "deep" / "er" / "c.cpp").write_text("int x;\n")
    rows = by_source(collected(folder))
    assert {name: (row["kind"], row["language"], row["license"]) for name, row in rows.items()} == {
        "a.py": ("code", "python", "MIT"), "b.rs": ("code", "rust", "MIT OR Apache-2.0"),
        "c.cpp": ("code", "c++", "MPL-2.0"),
    }  # fmt: skip
    stated = by_source(collected(folder, {"license": "CC0-1.0"}))
    assert {row["license"] for row in stated.values()} == {"CC0-1.0"}


def test_only_licences_that_are_taken(folder: Path) -> None:
    for name, licence in (("a", "MIT"), ("b", "GPL-3.0-only"), ("c", "CC-BY-4.0")):
        (folder / f"{name}.py").write_text(f"# SPDX-License-Identifier: {licence}\n")
    (folder / "d.py").write_text("x = 1\n")
    artifact = collected(folder, licenses=("MIT", "CC-BY-*"))
    assert set(by_source(artifact)) == {"a.py", "c.py"}
    assert sorted(filter(None, (row["reason"] for row in ledger(artifact).values()))) == ["license_not_taken"] * 2


def test_rows_say_their_licence_language_date_and_place(folder: Path) -> None:
    row = {"text": "one", "license": "CC-BY-4.0", "lang": "fr", "date": "2020-01-02"}
    (folder / "a.jsonl").write_text(json.dumps({"text": "zero"}) + "\n\n" + json.dumps(row) + "\n")
    rows = {row["text"]: row for row in read(collected(folder))}
    assert (rows["one"]["license"], rows["one"]["language"]) == ("CC-BY-4.0", "fr")
    assert rows["one"]["collected_from"]["date"] == "2020-01-02"
    assert rows["one"]["collected_from"]["place"] == "line=2,3"
    assert rows["zero"]["license"] is None and rows["zero"]["collected_from"]["place"] == "line=0,1"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello "}]},
         "User: Hi\n\nAssistant: Hello"),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
         "User: Hi\n\nAssistant: Ho"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "image"}]},
                       {"role": "tool", "content": None}]}, "User: A"),
        ({"messages": []}, None), ({"messages": "Hi"}, None), ({"messages": [{"role": 1, "content": "x"}]}, None),
    ],
)  # fmt: skip
def test_conversations_read_as_dialogues(fields: dict, text: str | None) -> None:
    assert conversation_of(fields) == text


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("\\documentclass{article}\n\\begin{document}Hello\\end{document}", True),
        ("\\section{One}\n" + "As \\emph{shown} in \\cite{a}, \\textbf{all} of it. " * 5, True),
        ("The energy is $E = mc^2$, or \\frac{1}{2} of it. " + ARTICLE, False),
        (ARTICLE * 4 + "It begins with \\documentclass{article}.", False),
        ("A path such as C:\\section\\item is no command. " + ARTICLE, False),
        (ARTICLE, False),
    ],
)
def test_tex_source_is_told_from_text_with_a_formula(text: str, tex: bool) -> None:
    assert is_tex(text) == tex


def test_tex_source_is_dropped_by_name(folder: Path) -> None:
    (folder / "paper.tex").write_text("\\documentclass{article}\n\\begin{document}\nHello\n\\end{document}\n")
    (folder / "a.txt").write_text(PARAGRAPHS[0])
    artifact = collected(folder)
    assert [row["reason"] for row in ledger(artifact).values() if row["reason"]] == ["tex_source"]
