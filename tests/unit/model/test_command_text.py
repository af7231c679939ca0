"""`python -m model train`: how text is cut into documents and passages, and what is held out."""

import dataclasses
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.command import main as command
from model.command.corpus import LARGEST, LONGEST, MOST_HELD_OUT, Split, prepare, split
from model.command.errors import TextError
from model.command.passages import passages
from model.command.progress import Progress
from model.command.recipe import PRESETS, Recipe, given_recipe
from model.command.step_documents import documents_of_step
from model.command.text import TextFiles
from model.command.train import steps_within
from model.data import PackedWindows

QUIET = Progress(quiet=True)
SENTENCES = " ".join(f"The {n}th sentence tells of {n * n} things, one after the other." for n in range(200))


def read(tmp_path: Path, content: bytes, **how: object) -> tuple[list[str], TextFiles]:
    (tmp_path / "text.txt").write_bytes(content)
    files = TextFiles([tmp_path / "text.txt"], **how)  # type: ignore[arg-type]
    return list(files.documents()), files


def test_documents_end_at_blank_lines_at_a_line_or_with_the_file(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfone\ntwo\n\n \t\r\n\nthree\r\n---\nfour ---\n"
    assert read(tmp_path, content)[0] == ["one\ntwo", "three\r\n---\nfour ---"]
    assert read(tmp_path, content, separator="---")[0] == ["one\ntwo\n\n \t\r\n\nthree", "four ---"]
    assert read(tmp_path, content, whole_files=True)[0] == [content[3:].decode()]
    assert read(tmp_path, b"\n \n\n")[0] == []


def test_invalid_bytes_are_counted_and_what_is_no_text_is_refused(tmp_path: Path) -> None:
    documents, files = read(tmp_path, b"caf\xe9 au lait, s'il vous pla\xeet\n\nmerci beaucoup")
    assert documents == ["caf\ufffd au lait, s'il vous pla\ufffdt", "merci beaucoup"]
    assert files.invalid.total() == 2
    with pytest.raises(TextError, match="are invalid"):
        read(tmp_path, bytes(range(128, 256)))
    with pytest.raises(TextError, match=r"NUL byte in line 2.*UTF-16"):
        read(tmp_path, b"one\ntw\0o")


def test_what_is_held_out_depends_on_the_documents_alone_and_copies_stay_together(tmp_path: Path) -> None:
    documents = [f"document {number} of many" for number in range(300)] * 2
    recipe = Recipe(held_out_bytes=500)
    (tmp_path / "a.txt").write_text("\n\n".join(documents))
    (tmp_path / "b.txt").write_text("\n\n".join(reversed(documents)))
    chosen = []
    for name in ("a.txt", "b.txt"):
        parts = split(TextFiles([tmp_path / name]), recipe, QUIET)
        assert not (parts.held_out & parts.vocabulary).any()
        assert np.array_equal(parts.held_out[:300], parts.held_out[300:])  # the copies
        ordered = documents if name == "a.txt" else documents[::-1]
        chosen.append({document for document, out in zip(ordered, parts.held_out, strict=True) if out})
        assert 500 <= parts.identity["held_out_bytes"] < 500 + 2 * 30
    assert chosen[0] == chosen[1]
    other = split(TextFiles([tmp_path / "a.txt"]), dataclasses.replace(recipe, seed=1), QUIET)
    assert {d for d, out in zip(documents, other.held_out, strict=True) if out} != chosen[0]


def test_what_is_odd_of_a_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A separator that is nowhere, bytes that are no UTF-8, and hardly any text to measure on."""
    (tmp_path / "text.txt").write_bytes(b"one caf\xe9\n---\n" + SENTENCES.encode())
    for separator, remarks in (("---", [True, False]), ("--", [True, True])):
        split(TextFiles([tmp_path / "text.txt"], separator), Recipe(), Progress())
        told = capsys.readouterr().err
        assert ["1 bytes are not UTF-8" in told, "no line is exactly '--'" in told] == remarks
    (tmp_path / "b.txt").write_text("b")
    split(TextFiles([tmp_path / "text.txt", tmp_path / "b.txt"], whole_files=True), Recipe(), Progress())
    assert "only 1 bytes are held out" in capsys.readouterr().err


@pytest.mark.parametrize("second", ["short", "much longer than the other"])
def test_of_two_documents_one_is_held_out(tmp_path: Path, second: str) -> None:
    (tmp_path / "text.txt").write_text(f"the first\n\n{second}")
    assert split(TextFiles([tmp_path / "text.txt"]), Recipe(), QUIET).held_out.sum() == 1


TEXTS = {  # of about 10 kB, hardly any with a blank line
    "lines": SENTENCES.replace(". ", ".\n"),
    "one line": SENTENCES,
    "words": SENTENCES.replace(".", ","),
    "no space": SENTENCES.replace(" ", "").replace(".", ","),
    "Chinese": "".join(f"这是第{n}句话，没有空格。" for n in range(300)),
    "old Macintosh": SENTENCES.replace(". ", ".\r"),
    "a title and a book": f"A title\n\n{SENTENCES}",
    "two halves": f"{SENTENCES[:5000]}\n\n{SENTENCES[5000:]}",
    "one character": "a" * 10_001,
    "a repeated line": "the same\n" * 1000,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_any_text_is_parted_and_a_tenth_or_little_more_held_out(tmp_path: Path, kind: str) -> None:
    text = TEXTS[kind]
    (tmp_path / "text.txt").write_bytes(text.encode())
    parts = split(TextFiles([tmp_path / "text.txt"]), Recipe(), QUIET)
    size = parts.identity["train_bytes"] + parts.identity["held_out_bytes"]
    assert 0 < parts.identity["held_out_bytes"] <= (MOST_HELD_OUT + LARGEST) * size
    cut = list(parts.text.documents())
    assert "".join("".join(cut).split()) == "".join(text.split()), "only white space is left out"
    assert max(len(document.encode()) for document in cut) <= max(LARGEST * size, 64)
    for document in parts.text.placed():
        assert text.encode()[document.offset :].startswith(document.text.encode())
        assert text.encode()[: document.offset].count(b"\n") == document.line - 1


def test_passages_end_at_the_best_place_that_fits() -> None:
    def cut(text: str, longest: int) -> list[str]:
        found = list(passages(text.encode(), longest))
        assert all(text.encode()[start:].startswith(passage) for start, passage in found)
        return [passage.decode() for _, passage in found]

    assert cut("one two. three\n  four five six", 16) == ["one two. three", "  four five six"]
    assert cut("one two. three four", 12) == ["one two.", "three four"]
    assert cut('He said "No!" and left', 16) == ['He said "No!"', "and left"]
    assert cut("one two three", 9) == ["one two", "three"]
    assert cut("你好。再见", 10) == ["你好。", "再见"]
    assert cut("aaé€𝄞bb", 4) == ["aaé", "€", "𝄞", "bb"]
    assert [piece for _, piece in passages(b"\x80" * 7, 4)] == [b"\x80" * 4, b"\x80" * 3]


def test_long_texts_become_passages_of_bounded_size_and_files_stay_whole_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SENTENCES * 30)
    (tmp_path / "b.txt").write_text("short")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    parts = split(TextFiles(files), Recipe(), QUIET)
    assert max(len(document) for document in parts.text.documents()) <= LONGEST
    whole = split(TextFiles(files, whole_files=True), Recipe(), QUIET)
    assert whole.held_out.tolist() == [False, True]
    with pytest.raises(TextError, match="one document only"):
        split(TextFiles(files[1:], whole_files=True), Recipe(), QUIET)


def test_a_pipe_is_read_once_and_learnt_from(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(SENTENCES,))
    writer.start()
    options = ["--vocab-size", "300", "--hidden-size", "16", "--context-length", "32", "--steps", "1", "--quiet"]
    assert command.main(["train", "--text", str(pipe), "--out", str(tmp_path / "model"), *options]) == 0
    writer.join()


def test_messages_name_a_pipe_and_not_its_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for content, told in ((b"one document", "one document only"), (b"a\0b", "holds a NUL byte in line 1")):
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        assert command.main(["train", "--text", str(pipe), str(pipe), "--out", str(tmp_path / "model")]) == 1
        writer.join()
        assert re.match(rf"error: {pipe}\b.*{told}", capsys.readouterr().err)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Split]:
    (tmp_path / "text.txt").write_text("\n\n".join(f"Document {n}:\nsome text of it\x1b[2J" for n in range(60)))
    yield split(TextFiles([tmp_path / "text.txt"]), Recipe(held_out_bytes=100), QUIET)


def test_damaged_work_files_are_made_again_the_same(
    parts: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(vocab_size=300)
    prepare(parts, recipe, tmp_path, QUIET)
    names = ("tokenizer.json", "train.bin", "held_out.bin", "digests.json")
    made = {name: (tmp_path / name).read_bytes() for name in names}
    for name, content in made.items():
        (tmp_path / name).write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
        capsys.readouterr()
        prepare(parts, recipe, tmp_path, Progress())
        assert (f"{name} has been changed" in capsys.readouterr().err) == (name != "digests.json")
        assert {name: (tmp_path / name).read_bytes() for name in names} == made
    stamps = [(tmp_path / name).stat().st_mtime_ns for name in names]
    prepare(parts, recipe, tmp_path, QUIET)
    assert [(tmp_path / name).stat().st_mtime_ns for name in names] == stamps


def test_the_documents_of_a_step_are_named_by_their_place(parts: Split, tmp_path: Path) -> None:
    corpus = prepare(parts, Recipe(vocab_size=300), tmp_path, QUIET)
    end = corpus.tokenizer.endoftext_id
    windows = PackedWindows(corpus.train, context=16, batch_size=1, seed=0)
    learnt = [place for place, out in zip(parts.text.placed(), parts.held_out, strict=True) if not out]
    for step in range(20):
        read = corpus.tokenizer.decode(windows(step)["input_ids"][0].tolist(), skip_special_tokens=False)
        told = documents_of_step(parts, windows, end, step)
        assert "\x1b" not in told
        for place in learnt:
            if place.text in read:
                assert f"line {place.line} (byte {place.offset:,}): {place.text.split(chr(10))[0]}" in told
        assert told.count("\n  ") <= 3


def test_a_short_text_is_not_learnt_by_heart_unless_steps_are_given() -> None:
    def steps(num_tokens: int, *options: str) -> int:
        asked = ["train", "--text", "x", "--out", "y", "--preset", "test", *options]
        return steps_within(given_recipe(command.parser().parse_args(asked)), num_tokens)

    assert steps(10_240) == 40  # 8 rows of 128 tokens: ten steps read it once
    assert steps(10_240, "--max-epochs", "2.5", "--batch-size", "4") == 50
    assert steps(10_240, "--steps", "90") == 90
    assert steps(10_240, "--steps", "90", "--max-epochs", "1") == 10
    assert steps(10_000_000) == PRESETS["test"].steps and steps(10) == 1
